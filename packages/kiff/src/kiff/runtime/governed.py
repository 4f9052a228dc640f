"""Which domain governs an entity type, as the edge knows it: digests name it, and its marks say what is sealed.

It follows every activation of this process, and learns of others from the rows that steps read. A step compares it with
the rows of its own batch.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from kiff.domain import Domain
from kiff.runtime.ports import Store
from kiff.runtime.rows import ActiveDomain


class Governed:
    """The active domains of every tenant.

    Args:
        active: (tenant, entity type) -> domain.
    """

    def __init__(self, active: Mapping[tuple[str, str], Domain] | None = None) -> None:
        self._domains: dict[tuple[str, str], Domain] = {}
        self._types: dict[str, frozenset[str]] = {}
        for (tenant, _), domain in (active or {}).items():
            self.put(tenant, domain)

    @classmethod
    def by(cls, store: Store, domains: Mapping[str, Domain]) -> Governed:
        """As a store has it.

        Args:
            domains: the active versions by digest.
        """
        rows = [row for row in store.active_domains() if row.digest in domains]
        return cls({(row.tenant, row.entity_type): domains[row.digest] for row in rows})

    def put(self, tenant: str, domain: Domain) -> None:
        """The domain governs its entity type from now on."""
        self._domains[tenant, domain.entity_type] = domain
        self._types[tenant] = self._types.get(tenant, frozenset()) | {domain.entity_type}  # others may be reading it

    def learn(self, rows: Iterable[object], domains: Mapping[str, Domain]) -> None:
        """Takes in what other processes activated.

        Args:
            rows: some of the world; its ActiveDomains say what governs.
            domains: compiled versions by digest; others are learnt once they are compiled.
        """
        for row in rows:
            if type(row) is ActiveDomain and row.digest in domains:
                known = self.domain(row.tenant, row.entity_type)
                if known is None or known.digest != row.digest:
                    self.put(row.tenant, domains[row.digest])

    def domain(self, tenant: str, entity_type: str) -> Domain | None:
        return self._domains.get((tenant, entity_type))

    def types(self, tenant: str) -> Collection[str]:
        """The entity types that a domain of the tenant governs, in lower case."""
        return self._types.get(tenant, ())

    def unplaced(self, tenant: str, names: Collection[str]) -> Collection[str]:
        """Those of the parameters of a call on a type that no domain governs that are sealed: all, while a domain of
        the tenant has marks. The type may be misspelt.
        """
        return names if any(self._domains[tenant, each].sensitive for each in self.types(tenant)) else ()
