"""Which test holds a bug that the world does not meet, or seldom.

A plain fact for the table of docs/simulation.md; ``tests/world/test_mutants_held.py`` plants each bug, runs the test
that is named, and sees it fail. May not know: how a bug is planted.
"""

from typing import Final

__all__ = ["HELD_BY"]

_IN: Final[dict[str, dict[str, str]]] = {
    "tests/cell/test_older_copy.py": {
        "records-not-asked": "test_an_older_copy_from_before_a_slot_left_is_told_by_the_records_alone",
        "return-not-asked": "test_an_older_copy_from_before_a_return_is_told_by_its_record_alone",
        "unproved-takes-part": "test_a_move_of_the_cell_is_given_up_before_it_is_proved_and_none_begins_meanwhile",
    },
    "tests/cell/test_older_copy_imports.py": {
        "arrived-not-asked": "test_a_twin_is_asked_of_a_slot_that_has_arrived_also_when_that_is_told_while_it_answers",
        "import-not-completed": "test_a_committed_import_of_which_an_older_copy_has_a_part_is_completed_before_it_is_the_owner",  # noqa: E501 - the name of a test
    },
    "tests/cell/test_older_copy_moves.py": {
        "made-anew-condemned": "test_a_row_that_is_behind_its_record_is_of_an_older_copy_and_no_other[left]",
    },
    "tests/cell/test_read_your_writes.py": {
        "position-from-the-log": "test_an_op_that_the_twin_holds_back_is_not_yet_shown_though_its_log_has_it",
    },
    "tests/cell/test_restore_cell.py": {
        "import-not-restored": "test_an_older_copy_gives_the_ops_of_a_slot_that_was_on_its_way_to_it",
        "restore-without-in-hand": "test_what_the_twin_has_received_and_not_written_yet_is_restored_too",
        "left-behind-not-restored": "test_an_older_copy_gives_what_it_had_left_behind_in_a_move_when_the_slot_has_come_back",  # noqa: E501 - the name of a test
    },
    "tests/cell/test_restore_kept.py": {
        "giver-not-asked": "test_an_erasure_that_only_the_cell_which_gave_the_slot_still_has_is_not_lost",
        "half-of-an-older-copy": "test_half_a_slot_that_a_given_up_move_left_in_an_older_copy_is_not_taken_for_the_whole_of_it",  # noqa: E501 - the name of a test
        "half-for-whole": "test_half_a_slot_is_not_taken_for_the_whole_of_it",
    },
    "tests/cell/test_restore_owners.py": {
        "map-believed-in-a-restore": "test_a_record_counts_more_than_the_map_which_follows_it_later",
    },
    "tests/cell/test_twins.py": {
        "given-before-the-question": "test_what_a_region_gave_before_it_asks_whether_it_is_an_older_copy_is_told_or_never_taken",  # noqa: E501 - the name of a test
        "skew-of-the-slow": "test_only_who_is_certainly_ahead_stops_writing_and_a_slow_link_is_no_skew",
    },
    "tests/control/test_lost_moves.py": {
        "lost-import-not-let-go": "test_an_activation_that_comes_late_from_the_process_that_died_makes_no_second_owner",
        "unheard-abort-told": "test_who_gives_up_a_move_that_never_began_wakes_no_source_whose_slot_is_served_elsewhere",  # noqa: E501 - the name of a test
    },
    "tests/control/test_lost_store.py": {
        "versions-given-again": "test_a_lost_store_goes_on_from_the_edges_map_and_the_edge_takes_what_it_publishes",
    },
    "tests/control/test_moves.py": {
        "hub-not-waited-for": "test_a_hub_that_lacks_events_of_the_cut_keeps_the_slot_where_it_is",
    },
    "tests/control/test_moves_edges.py": {
        "told-while-asked": "test_who_was_told_before_the_records_were_read_and_is_not_on_record_is_told_again",
        "left-behind-let-go-unseen": "test_what_a_slot_left_behind_is_kept_until_its_new_owner_has_shown_it",
        "move-on-before-gone": "test_a_slot_moves_on_only_when_both_cells_have_heard_of_the_last_move",
        "proof-before-the-stop": "test_a_slot_is_proved_by_what_it_held_after_its_writes_were_stopped",
        "reads-at-the-target": "test_who_only_has_a_copy_serves_nobody",
        "relay-look-before-freeze": "test_an_event_that_is_written_in_the_group_of_the_freeze_is_waited_for_too",
        "return-unheard": "test_a_region_that_has_heard_nothing_of_the_other_takes_nothing_back",
    },
    "tests/edge/test_agent.py": {
        "map-file-after-nginx": "test_a_map_is_on_disk_before_nginx_hears_of_it",
        "same-version-taken": "test_a_map_is_refused_and_changes_nothing[of the same version but different]",
    },
    "tests/engines/test_spoke_store.py": {
        "inbox-read-while-writing": "test_who_reads_the_inbox_sees_what_its_former_self_had_asked_for_and_not_waited_for",  # noqa: E501 - the name of a test
    },
    "tests/engines/test_store_embedded.py::TestSqliteStore": {
        "below-held-inclusive": "test_what_is_applied_leaves_out_held_ops_until_they_are_shown",
        "future-overtaken": "test_no_op_of_a_slot_is_shown_before_one_that_is_held",
        "held-asleep-after-restart": "test_ops_held_before_a_restart_are_applied_in_time_though_nobody_writes",
        "key-after-reads": "test_a_repeat_under_a_key_is_answered_although_what_it_had_read_has_changed",
        "key-of-a-neighbour": "test_two_calls_at_once_under_one_key_have_one_effect",
        "replayed-not-unsaved": "test_what_two_starts_in_a_row_have_to_remember_is_remembered",
        "seq-of-every-epoch": "test_own_ops_of_an_epoch_that_was_left_make_no_gap_in_the_new_one",
        "loser-known-by-its-base": "test_a_loser_that_arrives_under_several_writes_is_kept_by_both_regions",
        "waker-not-armed-again": "test_ops_that_are_held_a_second_time_are_applied_in_time_too",
    },
    "tests/engines/test_store_power.py": {
        "erasure-waits-for-a-commit": "test_an_erasure_that_a_full_disk_stopped_goes_on_when_there_is_room_and_nobody_writes",  # noqa: E501 - the name of a test
        "failed-sync-not-overwritten": "test_a_write_whose_sync_failed_does_not_come_back_after_a_crash",
    },
    "tests/engines/test_store_moves.py::TestSqliteMoves": {
        "activate-any-import": "test_an_activation_of_an_earlier_move_activates_no_later_import",
        "chains-end-with-their-epoch": "test_the_new_owners_first_event_names_the_old_ones_last",
        "held-applied-by-anybody": "test_the_copy_of_a_move_that_was_given_up_lists_no_loser",
        "import-not-saved": "test_what_an_import_has_kept_survives_a_restart",
        "no-overlap-of-keys": "test_a_key_of_the_same_millisecond_travels_although_it_sorts_before_the_last_one_copied",
        "settle-again": "test_an_outcome_counts_once_and_only_upwards",
        "target-pulls-early": "test_an_importing_slot_takes_neither_writes_nor_the_twins_ops",
        "shown-is-held-back": "test_what_the_source_shows_is_not_taken_before_its_time_and_what_follows_is_stamped_later",  # noqa: E501 - the name of a test
    },
    "tests/hub/test_inbox.py": {
        "epochs-apart-in-a-restart": "test_after_a_restart_what_follows_the_first_one_of_an_epoch_waits_for_what_was_in_work_in_the_epoch_before",  # noqa: E501 - the name of a test
    },
    "tests/hub/test_relay.py": {
        "closed-store-has-news": "test_a_relay_whose_store_is_closing_waits_before_it_looks_again",
        "hub-remembered": "test_a_hub_that_does_not_answer_has_nothing_and_is_asked_again_by_the_relay",
        "idle-relay-deaf": "test_a_wiped_hub_refills_itself_even_when_nothing_new_is_written",
        "late-append-is-ours": "test_an_append_of_the_burnt_store_that_comes_late_is_not_taken_for_the_new_ones",
        "last-lsn-too-early": "test_an_envelope_claims_no_lsn_of_the_next_one",
        "wiped-hub-without-moved-in": "test_a_hub_that_is_wiped_after_a_slot_came_to_a_cell_that_never_published_gets_what_the_move_brought",  # noqa: E501 - the name of a test
    },
    "tests/hub/test_runner.py": {
        "seen-is-done": "test_a_repeat_of_an_event_in_work_is_acknowledged_with_it_and_not_before",
    },
}
HELD_BY: Final[dict[str, str]] = {
    name: f"{place}::{test}" for place, tests in _IN.items() for name, test in tests.items()
}
"""Mutant -> the test, as pytest names it."""
