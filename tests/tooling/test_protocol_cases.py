"""Where each black-box case of protocol section 9 is tested, or why it is not: a checked table."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

_TESTS = Path(__file__).parents[1]
_HERE = "acceptance/test_protocol_cases.py"
_AWS = "queues/credentials/test_aws_profiles.py"
_GPU = "lifecycle/test_gpu_cases.py"

#: Case -> file and tests; each class of a contract counts for all that inherit it.
CASES: dict[str, tuple[str, ...]] = {
    "9.1 G1": (f"{_GPU}::test_g1_a_card_is_given_once",),
    "9.1 G2": (f"{_GPU}::test_g2_cards_come_back_once",),
    "9.1 G3": (f"{_GPU}::test_g3_two_cards_of_four_slots",),
    "9.1 G4": (f"{_GPU}::test_g4_the_card_that_has_the_slots",),
    "9.1 G5": (
        f"{_GPU}::test_g5_no_card_has_the_slots",
        f"{_GPU}::test_where_the_intent_differs_a_larger_card_will_do",
    ),
    "9.1 G6": (f"{_GPU}::test_g6_a_trial_takes_nothing",),
    "9.1 G7": (f"{_GPU}::test_g7_a_trial_needs_the_memory",),
    "9.1 environment": (
        f"{_GPU}::test_one_card_is_seen_by_its_name",
        f"{_GPU}::test_several_cards_are_joined_with_commas",
        f"{_GPU}::test_without_a_card_none_is_seen",
    ),
    "9.1 TestCUDAActive": ("resources/test_real_gpu.py::*",),
    "9.2": (f"{_HERE}::test_9_2_a_machine_fits_into_itself",),
    "9.3 merge": (f"{_HERE}::test_9_3_1_one_document_is_merged_into_another",),
    "9.3 patch": (f"{_HERE}::test_9_3_2_a_patch_replaces_and_removes",),
    "9.3 sequence": (
        "lifecycle/test_metadata.py::test_the_editing_sequence_of_the_protocol",
        "lifecycle/test_metadata.py::test_a_bad_line_never_loses_the_others",
    ),
    "9.4 C1": (f"{_HERE}::test_9_4_c1_a_text_is_sealed_and_one_byte_of_its_key_matters",),
    "9.4 C2": (
        f"{_HERE}::test_9_4_c2_what_the_clients_libraries_seal_is_opened",
        "acceptance/test_real_client.py::TestSealedOverSqs",
    ),
    "9.4 C3": (
        f"{_HERE}::test_9_4_c3_and_c4_keys_and_envelopes_have_the_forms_of_the_original",
        "privacy/test_private_key.py::test_openssh_reads_the_key_and_writes_what_we_read",
    ),
    "9.4 C4": (f"{_HERE}::test_9_4_c3_and_c4_keys_and_envelopes_have_the_forms_of_the_original",),
    "9.4 C5": (f"{_HERE}::test_9_4_c5_a_request_comes_back_as_it_was",),
    "9.4 C6": (f"{_HERE}::test_9_4_c6_a_key_has_its_fingerprint",),
    "9.4 C7": (f"{_HERE}::test_9_4_c7_a_text_is_signed",),
    "9.4 C8": (f"{_HERE}::test_9_4_c8_the_longest_beginning_of_a_name_has_the_key",),
    "9.4 C9": (f"{_HERE}::test_9_4_c9_a_key_that_comes_later_and_a_signature_in_the_wire_form",),
    "9.4 C10": ("archives/test_unpack.py::test_hostile_members_are_refused",),
    "9.5": ("queues/test_local_layouts.py::*",),
    "9.6 S1": (
        "stores/test_s3.py::test_public_objects_need_no_keys",
        "stores/test_minio.py::test_public_objects_need_no_keys",
        "stores/test_remote_store.py::test_what_nobody_may_read_is_denied_for_the_first_reason",
    ),
    "9.6 S2": (
        "lifecycle/test_artifacts.py::test_the_budget_is_shared_by_all",
        "lifecycle/test_artifacts.py::test_more_in_the_store_than_the_disk_need_is_not_even_fetched",
    ),
    "9.7 K0": ("contracts/cache.py::test_the_longest_unused_goes_first",),
    "9.7 K1": ("contracts/cache.py::test_what_was_fetched_is_kept",),
    "9.7 K2": (
        "contracts/cache.py::test_the_longest_unused_goes_first",
        "cache/test_room.py::test_victims_are_the_longest_unused_and_no_more",
    ),
    "9.8": (
        "reporters/test_metrics.py::test_all_that_is_described_is_exported",
        "reporters/test_metrics.py::test_histograms_add_up",
    ),
    "9.9 TestStates": ("app/test_state.py::*", "control/test_control.py::*"),
    "9.9 TestK8sConfigNode": ("app/test_state.py::test_the_hosts_own_configmap_wins",),
    "9.9 TestK8sConfigUnit": (
        "app/test_state.py::test_a_mounted_key_is_followed_through_its_links",
        "app/test_state.py::test_only_what_is_asked_for_is_followed",
    ),
    "9.9 Test0InitK8s": ("doctor/test_keys.py::test_keys_that_work_are_told",),
    "9.10": (f"{_HERE}::test_9_10_a_limit_ends_an_idle_daemon",),
    "9.11 E1": (
        f"{_HERE}::test_9_11_e1_the_last_epoch_is_read_from_the_output",
        "acceptance/test_real_client.py::TestRabbitMq",
        "acceptance/test_real_client.py::TestSealedOverSqs",
    ),
    "9.11 E4": (f"{_HERE}::test_9_11_e4_a_second_attempt_succeeds_and_each_has_its_metadata",),
    "9.11 E5": ("acceptance/test_responses.py::*",),
    "9.12 queue filters": (
        "queues/test_choice.py::test_what_matches_or_is_named_is_taken",
        "queues/test_choice.py::test_without_a_pattern_all_but_reports_are_taken",
    ),
    "9.12 precedence": ("settings/test_precedence.py::test_a_flag_wins_over_all",),
    "9.12 invalid value": (f"{_HERE}::test_9_12_a_value_that_is_none_stops_the_start",),
    "9.12 cache options": (f"{_HERE}::test_9_12_a_small_cache_is_one",),
    "9.12 max-cores": (f"{_HERE}::test_9_12_a_bound_above_the_machine_is_a_warning",),
    "9.12 experiment directories": (
        "lifecycle/test_workspace.py::test_attempts_of_one_key_take_the_next_free_number",
    ),
    "9.12 %VAR%": ("lifecycle/test_variables.py::test_names_between_percent_signs_are_replaced",),
    "9.12 lifetime": (
        "lifecycle/test_limits.py::test_a_lifetime_counts_from_the_submission",
        "lifecycle/test_limits.py::test_a_lifetime_without_a_submission_counts_from_the_claim",
    ),
    "9.12 max_duration": (f"{_HERE}::test_9_12_a_max_duration_that_cannot_be_read_is_named",),
    "9.12 download failure": (
        "lifecycle/test_artifacts.py::test_a_mutable_artifact_may_be_missing_and_has_its_directory",
        "lifecycle/test_artifacts.py::test_an_immutable_artifact_must_exist",
    ),
    "9.12 names in archives": ("archives/test_unpack.py::test_hostile_members_are_refused",),
    "9.12 compression": (f"{_HERE}::test_9_12_an_archive_is_known_by_its_bytes",),
    "9.12 AWS files": (f"{_AWS}::test_keys_and_region_are_found_however_they_are_parted",),
}
#: Cases that no test can be about here.
NOT_OURS = {
    "9.11 E2": "needs a GPU and TensorFlow; the allocation is 9.1, a real card test_real_gpu.py",
    "9.11 E3": "needs two GPUs and PyTorch; what several cards are seen as is in 9.1",
    "9.11 E6": "a property of the original's harness: the daemon here never changes its directory",
    "9.12 TestOpenBlas": "a property of the original's image; requirements bring their own",
    "9.12 TestSQS, TestAWS": "empty in the original",
    "9.12 queue-scaler, serving-bridge": "other products",
}
#: In these the original's accident is not repeated, and the test's docstring says so.
_INTENT = re.compile("intent differs|intent_differs")
DIFFERENT = frozenset(
    {
        "9.1 G5",
        "9.3 merge",
        "9.11 E1",
        "9.11 E4",
        "9.12 invalid value",
        "9.12 cache options",
        "9.12 max-cores",
        "9.12 max_duration",
        "9.12 compression",
    }
)


@functools.cache
def _named(file: str) -> dict[str, str]:
    """Return the tests and classes of a file by name, each with its source."""
    text = (_TESTS / file).read_text()
    return {
        node.name: ast.get_source_segment(text, node) or ""
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    }


def _sources(case: str) -> list[str]:
    found = []
    for place in CASES[case]:
        file, _, name = place.partition("::")
        named = _named(file)
        tests = [one for one in named if one.startswith("test_")] if name == "*" else [name]
        assert tests, f"{file} has no tests"
        found += [named[test] for test in tests]
    return found


@pytest.mark.parametrize("case", CASES)
def test_a_case_has_its_test(case: str) -> None:
    """The table names what there is, and what is different says so."""
    sources = _sources(case)
    assert any(map(_INTENT.search, sources)) == (case in DIFFERENT)


def test_no_case_is_forgotten() -> None:
    """All numbers from 9.1 to 9.12, and the lettered cases of each without a gap."""
    known = [*CASES, *NOT_OURS]
    assert {int(case.split()[0].split(".")[1]) for case in known} == set(range(1, 13))
    for section, letter, first, last in (
        ("9.1", "G", 1, 7),
        ("9.4", "C", 1, 10),
        ("9.6", "S", 1, 2),
        ("9.7", "K", 0, 2),
        ("9.11", "E", 1, 6),
    ):
        for number in range(first, last + 1):
            assert f"{section} {letter}{number}" in known
    assert not set(CASES) & set(NOT_OURS)
