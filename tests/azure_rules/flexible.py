"""Section 5: what Uniform and Flexible sets can do."""

from __future__ import annotations

from typing import Final

from tests.azure_rules.rule import Mutant, Rule, of_wire

_MODES = "tests/test_world_flexible.py::"
_LIMITS = "tests/test_world_limits.py::"
_TROUBLE = "tests/test_world_trouble.py::"
_W = "vmss_sim/world/"

RULES: Final[tuple[Rule, ...]] = (
    Rule(
        id="modes-table",
        section="5",
        text="What works on which orchestration mode is one table (below); what does not is refused: 409 OperationNotAllowed.",
        source="DOC-modes; each row its own",
        where=f"{_W}operations.py:MODES {_W}operations.py:works",
        test=f"{_MODES}test_admission_follows_the_table",
        mutant=Mutant("if config.flexible and not works(kind, True, options):", "if False:", f"{_W}admission.py"),
    ),
    Rule(
        id="modes-manual-upgrade",
        section="5",
        text="Whether a Flexible set takes manualupgrade differs between recordings and today's documentation.",
        source="DOC-manual (yes), REC 2021 (409)",
        where=f"{_W}operations.py:MODES",
        test=f"{_MODES}test_today_a_flexible_set_takes_manualupgrade_and_automatic_os_upgrade",
        mutant=Mutant(
            "flexible_manual_upgrade: bool = True", "flexible_manual_upgrade: bool = False", f"{_W}config.py"
        ),
        status="option",
        options="Platform.flexible_manual_upgrade",
    ),
    Rule(
        id="modes-auto-os",
        section="5",
        text="Automatic OS upgrade is for Uniform sets, says one page; a Flexible set took it, and another page implies that.",
        source="DOC-modes; REC 2024-08-26, DOC-maxsurge",
        where=f"{_W}operations.py:MODES",
        test=f"{_MODES}test_automatic_os_upgrade_on_flexible_is_an_option",
        mutant=Mutant(
            '"automatic OS upgrade": Works("yes", "flexible_auto_os", _AUTO_OS)',
            '"automatic OS upgrade": Works("yes", "yes", _AUTO_OS)',
        ),
        status="option",
        options="Platform.flexible_auto_os",
    ),
    Rule(
        id="modes-health",
        section="5",
        text="A Flexible set's health comes from the extension only; a probe counts as no source.",
        source="DOC-modes (monitor application health), DOC-rolling",
        where=f"{_W}operations.py:MODES {_W}admission.py:_reports_health",
        test=f"{_MODES}test_mode_rolling_needs_a_health_source_that_its_mode_knows",
        mutant=Mutant('"health: probe": Works("yes", "no",', '"health: probe": Works("yes", "yes",'),
    ),
    Rule(
        id="modes-rollback",
        section="5",
        text="Rollback on breach is for Uniform sets.",
        source="DOC-rolling, API",
        where=f"{_W}operations.py:MODES",
        test=f"{_MODES}test_rollback_on_breach_is_for_uniform_sets",
        mutant=Mutant(
            '"rollbackFailedInstancesOnPolicyBreach": Works("yes", "no"',
            '"rollbackFailedInstancesOnPolicyBreach": Works("yes", "yes"',
        ),
    ),
    Rule(
        id="modes-surge-auto-os",
        section="5",
        text="maxSurge together with automatic OS upgrade is for Uniform sets.",
        source="DOC-maxsurge",
        where=f"{_W}operations.py:MODES",
        test=f"{_MODES}test_automatic_os_upgrade_with_max_surge_is_for_uniform_sets",
        mutant=Mutant(
            '"automatic OS upgrade with maxSurge": Works("yes", "no"',
            '"automatic OS upgrade with maxSurge": Works("yes", "yes"',
        ),
    ),
    Rule(
        id="modes-names",
        section="5",
        text="A Flexible instance is named after its set, with eight hexadecimal digits; a Uniform one by a decimal number.",
        source="DOC-modes, DOC-ids, REC",
        where=f"{_W}lifecycle.py:_name",
        test=f"{_MODES}test_instances_of_a_flexible_set_are_named_after_it_and_no_name_is_used_twice",
        mutant=Mutant("_{world.born:08x}", "_{world.born:07x}"),
    ),
    Rule(
        id="modes-update-domains",
        section="5",
        text="Uniform sets have 5 update domains, Flexible ones none; then no batch has such a border.",
        source="DOC-modes",
        where=f"{_W}rolling_policy.py:azure_batches",
        test=f"{_MODES}test_a_flexible_set_has_no_update_domains_so_its_batches_have_no_such_border",
        mutant=Mutant(
            "late, zone, _key(one.update_domain))", "late, zone, _key(one.update_domain or int(one.id[-1], 16)))"
        ),
    ),
    Rule(
        id="limit-instances",
        section="5",
        text="At most 1,000 instances; 600 of a custom image that is no gallery image; 100 in a single placement group.",
        source="DOC-limits, DOC-pg, DOC-modes",
        where=f"{_W}admission.py:most_instances {_W}admission.py:MOST {_W}admission.py:MOST_CUSTOM_IMAGE {_W}admission.py:MOST_ONE_GROUP",
        test=f"{_LIMITS}test_how_many_instances_a_set_may_have",
        mutant=Mutant('"/galleries/" not in image.id.lower()', "False"),
    ),
    Rule(
        id="limit-instances-update",
        section="5",
        text="The limit holds for a capacity inside a model update too.",
        source="API",
        where=f"{_W}admission.py:_limits",
        test=f"{_LIMITS}test_the_limit_holds_for_a_capacity_inside_a_model_update",
        mutant=Mutant('kind not in ("set-capacity", "update-model", "create-set"):', 'kind != "set-capacity":'),
    ),
    Rule(
        id="limit-single-group",
        section="5",
        text="`singlePlacementGroup` goes from true to false, never back.",
        source="DOC-pg",
        where=f"{_W}admission.py:one_group {_W}admission.py:_update",
        test=f"{_LIMITS}test_a_single_placement_group_can_be_given_up_and_never_comes_back",
        mutant=Mutant('if args.get("patch", {}).get(GROUP) and not one_group(world):', "if False:"),
    ),
    Rule(
        id="limit-fixed",
        section="5",
        text="Orchestration mode, `platformFaultDomainCount` and priority are set at creation: PropertyChangeNotAllowed.",
        source="DOC-modes, REC, ISSUE azure-docs #108952",
        where=f"{_W}admission.py:FIXED",
        test=f"{_LIMITS}test_what_is_fixed_at_creation_cannot_change",
        mutant=Mutant(
            'FIXED = ("platformFaultDomainCount", "priority", "orchestrationMode")',
            'FIXED = ("priority", "orchestrationMode")',
        ),
    ),
    of_wire(
        "limit-fault-domains",
        "5",
        "How many fault domains: regional Uniform 1 to 5, zonal 1 or 5, Flexible 1 to 3.",
        "DOC-modes, DOC-fd",
        "A world is given its instances with their domains; scenarios check the counts they make.",
    ),
    of_wire(
        "limit-flexible-200",
        "5",
        "200 instances where VMs cannot be preserved in updates and spreading is fixed.",
        "DOC-modes",
        "Depends on the VM size, which the world does not know.",
    ),
    of_wire(
        "overprovision",
        "5",
        "Uniform sets create more VMs than asked for at first, and delete those that are late.",
        "DOC-pg",
        "Its extra VMs are gone before a rollout sees them; subnets need 20 % more.",
    ),
    of_wire(
        "flexible-stale-reads",
        "5",
        "Resource Graph lags by up to 60 s; batch health lists are Uniform only.",
        "DOC-modes",
        "A matter of how a client reads; `poll_ms` of the simulated backend stands for it.",
    ),
    of_wire(
        "unmanaged-disks",
        "5",
        "Unmanaged disks were retired on 2026-03-31.",
        "DOC-modes",
        "Said by lint; old snapshots can still be simulated.",
    ),
    of_wire(
        "service-fabric-uniform",
        "5",
        "Service Fabric and AKS need Uniform sets.",
        "DOC-modes",
        "Service Fabric clusters are refused with the reason.",
    ),
    Rule(
        id="trouble-zone-outage",
        section="5",
        text="What an outage matches is down for its span, whatever is done to it meanwhile.",
        source="INFER",
        where=f"{_W}background.py:Background._outage {_W}scale_set.py:World.outage_over",
        test=f"{_TROUBLE}test_what_would_come_up_during_a_zone_outage_comes_up_after_it",
        mutant=Mutant("world.hold_down(vm, until)", "pass"),
    ),
    Rule(
        id="trouble-allocation",
        section="5",
        text="Where nothing can be allocated, operations that need a disk or a VM fail: ZonalAllocationFailed, or AllocationFailed.",
        source="TSG-ext, ISSUE openshift/release PR 5182",
        where=f"{_W}scale_set.py:World.allocation_fails",
        test=f"{_TROUBLE}test_allocation_fails_while_a_zone_is_out_where_it_is_blocked",
        mutant=Mutant("if one.allocation and self.background.hits(one, vm)", "if self.background.hits(one, vm)"),
    ),
)
