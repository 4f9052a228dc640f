"""URLs and addresses that lead, or are meant to lead, into the house of whoever serves KIFF."""

from __future__ import annotations

ADDRESSES = """
0.0.0.0 0.0.0.1 0.255.255.255 10.0.0.0 10.0.0.1 10.255.255.255 100.64.0.1 100.100.100.200 100.127.255.255 127.0.0.1
127.0.0.2 127.1.2.3 127.255.255.254 168.63.129.16 169.254.0.1 169.254.169.254 169.254.170.2 169.254.170.23 172.16.0.1
172.17.0.1 172.31.255.255 192.0.0.1 192.0.0.8 192.0.0.170 192.0.0.192 192.0.2.1 192.88.99.1 192.168.0.1 192.168.1.254
192.168.255.255 198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.1 224.0.0.251 239.255.255.250 240.0.0.1
250.1.2.3 255.255.255.254 255.255.255.255
:: ::1 ::2 ::127.0.0.1 ::7f00:1 ::8.8.8.8 ::ffff:127.0.0.1 ::ffff:7f00:1 ::ffff:10.0.0.1 ::ffff:169.254.169.254
::ffff:8.8.8.8 ::ffff:0:127.0.0.1 64:ff9b::127.0.0.1 64:ff9b::10.0.0.1 64:ff9b::169.254.169.254 64:ff9b::c0a8:1
64:ff9b::0 64:ff9b:1::1 64:ff9b:1:a9fe:a9:fe00:: 100::1 2001::1 2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:2::1
2001:10::1 2001:20::1 2001:db8::1 2002:7f00:1:: 2002:a00:1:: 2002:a9fe:a9fe:: 2002:808:808:: 3fff::1 4000::1 5f00::1
fc00::1 fd00::1 fd00:ec2::254 fd20:ce::254 fdff:ffff:ffff:ffff::1 fe80::1 fe80::a9fe:a9fe fec0::1 ff02::1 ff05::2
ff0e::1 ff0e::fb
""".split()  # noqa: SIM905  (rows of short words read better as a paragraph)
"""Addresses that are no public hosts."""

PUBLIC = """
1.1.1.1 8.8.8.8 9.9.9.9 11.0.0.1 100.63.255.255 100.128.0.1 126.255.255.255 128.0.0.1 169.253.255.255 169.255.0.1
172.15.255.255 172.32.0.1 192.0.1.1 192.167.255.255 192.169.0.1 198.17.255.255 198.20.0.1 223.255.255.255
2606:4700:4700::1111 2001:4860:4860::8888 2a00:1450:4001:81b::200e 2620:fe::fe 64:ff9b::8.8.8.8
""".split()  # noqa: SIM905  (rows of short words read better as a paragraph)
"""Addresses next to those, and of well-known public hosts."""

SPELLINGS = """
127.1 127.0.1 0 1 2130706433 017700000001 0x7f000001 0x7f.1 0x7f.0x0.0x0.0x1 0177.0.0.1 0177.0.0.01 00000177.0.0.1
127.0.0.1. 127.0.0.0x1 127.0.0.256 256.256.256.256 1.2.3 1.2.3.4.5 0x 0xg.0x1 0251.0376.0251.0376 0xa9fea9fe 2852039166
169.254.43518 169.16689662 localhost. metadata. example.com. .example.com example..com -example.com example-.com
example.-com 1.example.2 example.0x1f example.com. %31%32%37.0.0.1 127%2e0%2e0%2e1 localhost%00 example.com%00.evil
example.com%2f@127.0.0.1 exa_mple!.com example.com, *.example.com [127.0.0.1] [::1 ::1 ::1] [::1]x [[::1]] [::1%25lo]
[fe80::1%eth0] [::1%lo] [] [:] [:::] [::g] [1.2.3.4] [v1.x]
""".split()  # noqa: SIM905  (rows of short words read better as a paragraph)
"""Hosts written so that two programs may read two things."""

URLS = [
    "",
    " ",
    "/",
    "//",
    "//example.com/",
    "///example.com/",
    "example.com",
    "example.com/hook",
    "https:",
    "https:/",
    "https://",
    "https:///",
    "https:///hook",
    "https:example.com/",
    "https:/example.com/",
    "https:\\\\example.com\\",
    "https://example.com\\@127.0.0.1/",
    "https://127.0.0.1\\@example.com/",
    "https://example.com\\.evil.example/",
    "HTTPS://example.com/",
    "httpS://example.com/",
    "http://example.com/",
    "http://127.0.0.1/",
    "http://localhost:8480/v1/events",
    "http://169.254.169.254/latest/meta-data/",
    "http://[fd00:ec2::254]/latest/meta-data/",
    "ftp://example.com/",
    "ftps://example.com/",
    "file:///etc/passwd",
    "file://localhost/etc/passwd",
    "gopher://127.0.0.1:6379/_FLUSHALL",
    "dict://127.0.0.1:11211/stats",
    "ldap://127.0.0.1/",
    "jar:https://example.com!/",
    "data:text/plain,hello",
    "javascript:alert(1)",
    "unix:///var/run/docker.sock",
    "http+unix://%2Fvar%2Frun%2Fdocker.sock/",
    "ws://example.com/",
    "wss://example.com/",
    "mcp://server/tool",
    "https://user@example.com/",
    "https://user:password@example.com/",
    "https://@example.com/",
    "https://:@example.com/",
    "https://example.com@127.0.0.1/",
    "https://example.com:443@127.0.0.1/",
    "https://example.com/#fragment",
    "https://example.com#@127.0.0.1/",
    "https://127.0.0.1#.example.com/",
    "https://example.com?@127.0.0.1/",
    "https://example.com:80/",
    "https://example.com:22/",
    "https://example.com:25/",
    "https://example.com:6379/",
    "https://example.com:8080/",
    "https://example.com:0/",
    "https://example.com:65536/",
    "https://example.com:99999/",
    "https://example.com:-1/",
    "https://example.com:/",
    "https://example.com:443:443/",
    "https://example.com:4_4_3/",
    "https://example.com:+443/",
    "https://example.com:0443443/",
    "https://example.com: 443/",
    "https://example.com:٤٤٣/",
    "https://example.com/\r\nX-Evil: 1",
    "https://example.com/\r\n\r\nGET / HTTP/1.1",
    "https://example.com/\nhook",
    "https://example.com/\thook",
    "https://exa\tmple.com/",
    "https://exa\nmple.com/",
    "https://example.com\r\n/",
    "https://example.com/\x00",
    "https://example.com\x00.evil.example/",
    "https://example.com/\x7f",
    "https://example.com/\x1b[2J",
    "https://example.com/a b",
    " https://example.com/",
    "https://example.com/ ",
    "\thttps://example.com/",
    "https://example.com/%",
    "https://example.com/%2",
    "https://example.com/%zz",
    'https://example.com/"',
    "https://example.com/<script>",
    "https://example.com/{id}",
    "https://example.com/`id`",
    "https://example.com/$(id)|x",
    "https://example.com/é",
    "https://exämple.com/",
    "https://example.com。evil.example/",
    "https://ｅxample.com/",
    "https://①②⑦.0.0.1/",
    "https://127。0。0。1/",
    "https://ⓛocalhost/",
    "https://example.com\u200b/",
    "https://\u202eexample.com/",
    "https://example.com/\u2028",
    "https://example.com/\ud800",
    "https://" + "a" * 64 + ".com/",
    "https://" + "a." * 127 + "com/",
    "https://example.com/" + "a" * 2_048,
    "https://[::1]:8480/",
    "https://127.0.0.1:443/",
    "https://localhost:8480/",
]
"""Whole URLs that are never asked."""
