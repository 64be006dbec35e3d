"""Contracts for import-linter that it does not have itself; pyproject.toml names them.

`whitelist`   a package may reach the listed modules and nothing else, directly or through others
`owners`      each library is imported in the listed rooms only
"""

from __future__ import annotations

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


class WhitelistContract(Contract):  # type: ignore[misc]
    """`source` imports, also indirectly, only itself and `allowed` (modules or libraries)."""

    source = fields.StringField()
    allowed = fields.SetField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        source, allowed = self.source, self.allowed
        reached = graph.find_upstream_modules(source, as_package=True)
        refused = sorted(
            module
            for module in reached
            if not any(module == name or module.startswith(f"{name}.") for name in allowed)
        )
        chains = {
            module: graph.find_shortest_chain(
                importer=source, imported=module, as_packages=module in graph.modules
            )
            for module in refused
        }
        return ContractCheck(kept=not refused, metadata={"chains": chains})

    def render_broken_contract(self, check: ContractCheck) -> None:
        for module, chain in check.metadata["chains"].items():
            path = " -> ".join(chain) if chain else f"{self.source} -> ... -> {module}"
            output.print_error(f"{module} is not on the whitelist of {self.source}: {path}")


class OwnersContract(Contract):  # type: ignore[misc]
    """Each line of `libraries` is `library: room` or `library: room, room`."""

    libraries = fields.ListField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        (root,) = {name.split(".")[0] for name in self.session_options["root_packages"]}
        strangers: list[tuple[str, str]] = []
        unused: list[str] = []
        for line in self.libraries:
            library, _, rooms = line.partition(":")
            owners = [f"{root}.{room.strip()}" for room in rooms.split(",")]
            importers = (
                graph.find_modules_that_directly_import(library)
                if library in graph.modules
                else frozenset[str]()
            )
            if not importers:
                unused.append(library)
            strangers += [
                (importer, library)
                for importer in sorted(importers)
                if not any(importer == o or importer.startswith(f"{o}.") for o in owners)
            ]
        return ContractCheck(
            kept=not strangers and not unused,
            metadata={"strangers": strangers, "unused": unused},
        )

    def render_broken_contract(self, check: ContractCheck) -> None:
        for importer, library in check.metadata["strangers"]:
            output.print_error(f"{importer} imports {library}, which belongs to another room")
        for library in check.metadata["unused"]:
            output.print_error(f"{library} is imported nowhere: remove its line from the contract")
