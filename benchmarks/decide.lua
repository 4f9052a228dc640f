-- What wrk sends: one decide after the other, each on an order of its own, so that none waits for another's runway.
-- Arguments: the key, the first order, the path, how many orders one thread may use.
local number, key, path = 0, nil, nil

function setup(thread)
  thread:set("place", place or 0)
  place = (place or 0) + 1
end

function init(args)
  key, path = args[1], args[3]
  number = tonumber(args[2]) + place * tonumber(args[4])
  wrk.headers["Authorization"] = "Bearer " .. key
  wrk.headers["Content-Type"] = "application/json"
end

function request()
  number = number + 1
  local body = '{"entity_id": "' .. number .. '", "entity_type": "order", "action_name": "AUTO_REFUND", '
    .. '"actor_id": "ops-agent", "parameters": {"amount": 49.0, "reason": "customer request"}}'
  if path == "validate" then
    body = '{"entity_type": "order", "mode": "decide", "parameters": {"amount": 49.0, "reason": "customer request"}}'
    return wrk.format("POST", "/v1/entities/" .. number .. "/actions/AUTO_REFUND/validate", nil, body)
  end
  return wrk.format("POST", path, nil, body)
end

local bad, all = 0, 0
function response(status, headers, body)
  all = all + 1
  if status ~= 200 then
    bad = bad + 1
    if bad == 1 then io.stderr:write(status .. " " .. body .. "\n") end
  end
end
