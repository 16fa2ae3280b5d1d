//! Every constant of src/limits is one of: reached by a case here, reached by another test, or no bound on a peer.

use crate::cases::{CASES, TIMED};
use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::Path;

/// Reached by other tests, mostly on small limits without a node: names, and file and function of the test.
const ELSEWHERE: &[(&[&str], &str)] = &[
    (
        &["MESSAGES_IN_PER_S", "RATE_BURST_MS", "RATE_RETRY_AFTER_S"],
        "tests/limits/rates.rs a_publisher_is_told_to_come_again",
    ),
    (&["BYTES_IN_PER_S"], "tests/limits/rates.rs a_connection_over_its_bytes_is_refused"),
    (&["RATE_DEBT_MS"], "src/shard/inflow.rs bytes_are_owed_for_a_second_at_most"),
    (&["REFUSALS_LOGGED", "REFUSALS_LOGGED_MS"], "tests/limits/logs.rs a_few_lines_tell_of_many_refusals"),
    (&["NODE_MAILBOX_MESSAGES", "MAILBOX_RESERVE_PART"], "tests/limits/mailbox.rs publishers_come_again"),
    (&["RELAY_POLL_HOLD_MS"], "tests/limits/polls.rs a_poll_is_held_for_so_long_and_no_longer"),
    (&["HTTP_PIPELINE_BYTES"], "tests/limits/polls.rs what_is_behind_a_request_is_bounded"),
    (
        &["NODE_CONNECTIONS", "NODE_CONNECTIONS_PER_ADDRESS"],
        "src/shard/addresses.rs addresses_are_counted_and_forgotten",
    ),
    (&["NODE_OUTBOX_MESSAGES"], "src/shard/outbox.rs close_rule_closes"),
    (&["REPEATED_HEAD_BYTES"], "src/wire/http/repeat.rs only_plain_heads_are_known"),
    (&["KEYS_CACHED"], "src/channel/key.rs cached_keys_are_the_same_keys"),
    (&["WS_CLOSE_REASON_BYTES"], "src/wire/ws/close.rs long_reasons_are_cut_between_characters"),
    (&["WS_INFLATE_KEEP_BYTES"], "src/wire/ws/tests.rs memory_is_given_back_when_idle"),
    (&["JSON_KEEP_BYTES"], "src/wire/json.rs a_large_document_leaves_no_memory_behind"),
    (&["APP_CLIENT_EVENTS_PER_S"], "tests/pusher/client_events.rs ten_go_in_a_second_and_pings_do_not_count"),
    (&["APP_ID_BYTES", "APP_SECRET_BYTES"], "src/node/config/app.rs wrong_apps_are_told"),
    (
        &["APPS_WAITING", "CONTROL_CONNECTIONS", "CONTROL_LINE_BYTES"],
        "tests/apps.rs the_socket_is_its_owners_and_bounded",
    ),
    (&["CONTROL_ANSWER_BYTES"], "src/node/control.rs an_app_with_much_to_tell_is_listed"),
    (&["NODE_APPS"], "src/dialect/app.rs ids_and_keys_are_taken_once"),
    (&["PRESENCE_USER_BYTES"], "tests/presence/contract.rs limits_refuse_with_a_reason_and_change_nothing"),
    (&["GROUP_IDLE_MS"], "tests/channel_core.rs limits_set_ahead_hold_and_are_forgotten_some_day"),
    (&["DURABLE_WAITING_COMMANDS", "DURABLE_WAITING_BYTES"], "tests/durable/cases.rs what_waits_is_bounded"),
    (
        &["HISTORY_MESSAGES", "RELAY_BUFFER_MESSAGES", "RELAY_MESSAGE_TIMEOUT_MS"],
        "src/channel/history.rs minimum_beats_expiry_and_maximum_beats_both",
    ),
    (&["HOOK_QUEUE_CALLS", "HOOK_QUEUE_BYTES"], "tests/hooks/queue.rs a_full_queue_refuses_at_once"),
    (
        &["HOOK_BACKEND_QUEUE_CALLS", "HOOK_CONCURRENT", "HOOK_BACKEND_CONCURRENT"],
        "tests/hooks/queue.rs one_back_end_cannot_take_the_whole_queue",
    ),
    (&["HOOK_BACKENDS"], "tests/hooks/queue.rs only_so_many_back_ends_are_known"),
    (
        &["HOOK_REQUEST_HEAD_BYTES", "HOOK_REQUEST_HEADERS"],
        "tests/hooks/wire.rs calls_that_cannot_be_sent_are_refused",
    ),
    (
        &["HOOK_ANSWER_HEAD_BYTES", "HOOK_ANSWER_HEADERS", "HOOK_ANSWER_BODY_BYTES"],
        "tests/hooks/trouble.rs oversized_answers_are_cut_off",
    ),
    (
        &["HOOK_TIMEOUT_MS", "HOOK_TIMEOUT_MAX_MS", "HOOK_CONNECT_MS"],
        "tests/hooks/trouble.rs a_hanging_back_end_times_out_and_hinders_nobody",
    ),
    (
        &["HOOK_TRIES", "HOOK_BACKOFF_MS"],
        "tests/hooks/trouble.rs a_refusing_back_end_is_tried_again_only_when_nobody_waits",
    ),
    (
        &["HOOK_CIRCUIT_FAILURES", "HOOK_CIRCUIT_OPEN_MS"],
        "tests/hooks/trouble.rs the_circuit_opens_and_closes",
    ),
    (&["HOOK_IDLE_MS"], "tests/hooks/wire.rs an_idle_connection_is_kept_only_so_long"),
    (&["HOOK_LOG_MS"], "tests/hooks/trouble.rs a_failure_is_logged_once_for_each_kind_and_back_end"),
    (&["PUSHER_WATCHLIST_USERS"], "tests/pusher/signin.rs watchlists_are_cut_with_a_word"),
    (&["PUSHER_CHANNELS_PER_TRIGGER"], "src/dialect/pusher/api/tests.rs events_are_bounded"),
    (&["PUSHER_BATCH_EVENTS"], "src/dialect/pusher/api/tests.rs batches_are_read_and_bounded"),
    (&["PUSHER_TIMESTAMP_TOLERANCE_S"], "src/wire/sign/tests.rs time_and_version_are_checked"),
    (
        &["PUSHER_ACTIVITY_TIMEOUT_S", "PUSHER_PONG_TIMEOUT_MS", "PUSHER_ROUND_TRIP_MS"],
        "tests/pusher/liveness.rs a_silent_client_is_asked_and_then_closed",
    ),
    (&["PUSHER_RETRY_AFTER_S"], "tests/pusher/http_api.rs who_asks_too_often_is_told_when_to_come_again"),
    (&["PUSHER_REPEATS_WAITING"], "tests/pusher/subscriptions.rs asking_again_and_again_is_bounded"),
    (
        &["PUSHI_CHANNEL_BYTES", "PUSHI_EVENT_BYTES", "PUSHI_USER_BYTES", "PUSHI_CHANNEL_DATA_BYTES"],
        "src/dialect/pushi/frame.rs everything_else_is_an_error",
    ),
    (
        &["PUSHI_APP_NAME_BYTES", "PUSHI_CHANNELS_PER_PUBLISH", "PUSHI_SUBJECT_BYTES"],
        "src/dialect/pushi/body.rs bad_bodies_are_refused_as_recorded",
    ),
    (
        &[
            "PUSHI_CHANNELS_PER_USER",
            "PUSHI_USERS_PER_CHANNEL",
            "PUSHI_HOOKS_PER_CHANNEL",
            "PUSHI_REGISTRATIONS",
        ],
        "src/dialect/pushi/registry.rs limits_hold",
    ),
    (
        &["PUSHI_TOKENS_PER_SET", "PUSHI_TOKEN_IDLE_MS", "PUSHI_TOKEN_NOTE_MS"],
        "src/dialect/pushi/token.rs tokens_expire_after_31_days_and_the_oldest_of_a_set_make_room",
    ),
    (&["RELAY_CHANNEL_ID_BYTES_MAX"], "src/dialect/relay/tests/exchanges.rs long_ids"),
    (&["STORE_QUEUE_JOBS", "STORE_QUEUE_BYTES"], "tests/store.rs a_full_queue_refuses_and_never_waits"),
    (
        &["STORE_RECORD_BYTES", "STORE_DOCUMENT_BYTES", "STORE_KEY_BYTES", "STORE_RECORD_EXTRA_BYTES"],
        "tests/store.rs what_is_too_large_is_refused_alone",
    ),
    (&["STORE_DISK_BYTES"], "tests/store_disk.rs the_stores_own_bound_holds_and_room_can_be_made"),
    (&["STORE_MEMORY_BYTES"], "tests/store.rs a_store_in_memory_does_the_same_within_its_bound"),
    (&["STORE_LOGS"], "tests/durable/cases.rs refusals_say_why_and_leave_nothing"),
    (
        &["STORE_WAL_BYTES", "STORE_WAL_PARTS", "STORE_WAL_PART", "STORE_TRIM_RECORDS", "STORE_VACUUM_PAGES"],
        "tests/store_disk.rs days_of_publishing_keep_their_size",
    ),
    (
        &["STORE_READ_ITEMS", "STORE_READ_BYTES"],
        "src/node/apps.rs more_apps_than_one_answer_of_the_store_are_loaded",
    ),
    (&["STORE_CHECK_FINDINGS"], "tests/store_disk.rs check_tells_what_a_store_holds"),
    (&["WEBHOOK_HELD"], "src/service/webhooks/grace.rs too_many_make_the_oldest_go_early"),
    (&["WEBHOOK_MISSES"], "tests/webhooks/delivery.rs a_channel_that_is_still_empty_is_missed_once"),
    (
        &["WEBHOOK_BATCH_EVENTS", "WEBHOOK_BATCH_BYTES", "WEBHOOK_BATCH_MS"],
        "tests/webhooks/delivery.rs a_batch_is_limited_by_bytes_and_one_large_event_is_a_batch",
    ),
    (
        &["WEBHOOK_QUEUE_EVENTS"],
        "tests/webhooks/trouble.rs a_full_queue_drops_what_comes_and_loses_nothing_else",
    ),
    (
        &["WEBHOOK_QUEUE_BYTES", "WEBHOOK_TOTAL_BYTES", "WEBHOOK_RESERVE_BYTES"],
        "tests/webhooks/trouble.rs queues_are_bounded_by_bytes_for_one_and_for_all",
    ),
    (
        &["WEBHOOK_INTAKE_EVENTS", "WEBHOOK_INTAKE_BYTES"],
        "tests/webhooks/trouble.rs handing_over_never_waits_and_is_bounded",
    ),
    (&["WEBHOOK_ENDPOINTS"], "tests/webhooks/delivery.rs what_is_no_endpoint_is_refused"),
    (
        &["WEBHOOK_BACKOFF_MS", "WEBHOOK_BACKOFF_MAX_MS"],
        "src/service/webhooks/backoff.rs pauses_double_up_to_a_limit_and_differ",
    ),
    (
        &["WEBHOOK_RETRY_MS"],
        "tests/webhooks/trouble.rs a_call_is_given_up_when_its_time_is_over_and_the_next_one_has_its_own",
    ),
    (&["WEBHOOK_STOP_MS"], "tests/webhooks/trouble.rs stopping_waits_for_no_endpoint_longer_than_it_may"),
    (&["NODE_CONFIG_MISTAKES"], "tests/config.rs a_file_full_of_mistakes_is_cut_off_quickly"),
    (&["SHARD_STALL_MS"], "src/node/health.rs a_shard_that_stands_still_is_named"),
    (
        &["NODE_WEBSOCKET_PING_INTERVAL_MS", "RELAY_WEBSOCKET_PING_INTERVAL_MS"],
        "tests/config.rs the_node_decides_about_pings_where_a_location_is_silent",
    ),
    (&["GRANT_PATTERNS", "GRANT_PATTERN_BYTES"], "src/wire/pattern.rs patterns_are_bounded"),
    (
        &["GRANT_CLAIMS_DEPTH", "GRANT_USER_BYTES", "GRANT_TOKEN_ID_BYTES", "GRANT_JWT_NAMES"],
        "src/wire/claims.rs wrong_claims_are_refused",
    ),
    (
        &["GRANT_TOKEN_BYTES", "GRANT_TOKEN_LIFE_S"],
        "src/dialect/grant/tests.rs tokens_let_in_where_they_say_and_until_they_say",
    ),
    (&["GRANT_JWT_SECRET_BYTES_MIN"], "src/wire/jwt/tests.rs hs256_is_taken_with_its_secret_only"),
    (&["GRANT_JWT_LEEWAY_MS"], "src/wire/claims.rs tokens_hold_between_their_times"),
    (&["GRANT_JWKS_KEYS"], "src/wire/jwt/tests.rs sets_are_bounded_and_of_use"),
    (&["GRANT_REVOCATIONS"], "src/dialect/grant/tests.rs revocations_are_bounded_kept_and_forgotten"),
    (
        &["NODE_PEER_TIMEOUT_MS", "SEND_STALL_MS"],
        "tests/faults/peers.rs peers_that_have_vanished_are_found_by_the_kernel",
    ),
    (
        &["SHARD_STALL_EXIT_MS"],
        "tests/upgrade/faults.rs a_shard_that_stands_still_is_reported_and_ends_the_process",
    ),
    (&["UPGRADE_MS"], "tests/upgrade/handover.rs a_new_process_that_takes_too_long_is_given_up"),
    (
        &[
            "NODE_CONNECTS_PER_S_PER_ADDRESS",
            "NODE_CONNECTS_BURST",
            "TURNED_AWAY",
            "TURNED_AWAY_MS",
            "TURNED_AWAY_RETRY_AFTER_S",
            "CONNECT_RATE_ADDRESSES",
        ],
        "tests/clients/doors.test.mjs",
    ),
    (&["PROXY_V1_BYTES"], "src/wire/proxy/tests.rs a_line_of_version_1_has_107_bytes_at_most"),
    (&["PROXY_V2_BYTES"], "src/wire/proxy/tests.rs headers_that_are_not_of_version_2_are_refused"),
    (&["TLS_HANDSHAKE_MS", "TLS_PENDING_HANDSHAKES", "TLS_KEPT_BYTES"], "tests/clients/tls.test.mjs"),
];

/// Bounds on a peer that no test reaches, each with what is known all the same.
const UNREACHED: &[(&[&str], &str)] = &[
    (
        &["NODE_IDLE_TIMEOUT_MS", "LINGER_MS", "WS_CLOSE_MS"],
        "an end in time, no refusal: seen in tests/clients",
    ),
    (
        &["PUSHI_FRAMES_WAITING", "PUSHI_WAITING_BYTES", "PUSHI_QUESTIONS"],
        "needs a home that does not answer; the model of tests/pushi stays below",
    ),
    (
        &["PUSHI_EVENTS_PER_ANSWER", "PUSHI_HOOKS_PER_PUBLISH", "PUSHI_TOKEN_SETS"],
        "more than that is cut off, nobody is refused",
    ),
    (&["PUSHER_CHANNELS_LISTED"], "a longer list is cut off, nobody is refused"),
    (&["CONTROL_PATIENCE_MS", "APPS_NOTED_MS"], "the control socket is the owner's alone"),
];

/// No bounds on a peer.
const NO_BOUND: &[(&str, &[&str])] = &[
    (
        "how much the configuration may say, checked by its keys",
        &[
            "GRANTS",
            "GRANT_KEYS",
            "GRANT_KEY_BYTES",
            "GRANT_KEY_BYTES_MIN",
            "GRANT_JWT_LEEWAY_MS_MAX",
            "GRANT_PEM_BYTES",
            "GRANT_JWKS_BYTES",
            "NODE_PEER_TIMEOUT_MS_MIN",
            "NODE_PEER_TIMEOUT_MS_MAX",
            "NODE_CONNECTS_PER_S_MAX",
            "NODE_CONNECTS_BURST_MAX",
            "NODE_ORIGINS",
            "NODE_TRUSTED_PROXIES",
            "TLS_CERTIFICATES",
            "TLS_NAMES",
            "TLS_FILE_BYTES",
            "NODE_CONFIG_BYTES",
            "NODE_DURATION_MS_MAX",
            "NODE_SIZE_BYTES_MAX",
            "NODE_MEMORY_BYTES_MAX",
            "NODE_COUNT_MAX",
            "NODE_SHARDS_MAX",
            "NODE_LISTENERS",
            "NODE_UNIX_PATH_BYTES",
            "PUSHER_CHANNEL_NAME_BYTES_MAX",
            "PUSHER_EVENT_NAME_CHARS_MAX",
            "PUSHER_DATA_BYTES_MAX",
            "PUSHER_ITEMS_MAX",
            "PUSHER_TIMEOUT_S_MAX",
            "RELAY_BUFFER_MESSAGES_MAX",
            "RELAY_LOCATIONS",
            "RELAY_PATTERN_BYTES",
            "STORE_DISK_BYTES_MIN",
            "STORE_DISK_BYTES_MAX",
            "SHARDS",
        ],
    ),
    (
        "how a name or record is laid out",
        &[
            "TLS_RECORD_BYTES",
            "TLS_RECORD_EXTRA_BYTES",
            "TLS_SEALED_EXTRA_BYTES",
            "TLS_TICKETS",
            "TLS_IDENTITY_BYTES",
            "SESSION_SHARD_BITS",
            "SESSION_SLOT_BITS",
            "RELAY_STORES",
            "PUSHI_KEY_CHARS",
        ],
    ),
    (
        "how much is kept, and how long, when nobody says so",
        &[
            "APP_HISTORY_MESSAGES",
            "APP_HISTORY_MS",
            "APP_CACHE_MS",
            "APP_CHANNEL_TIMEOUT_MS",
            "RELAY_CHANNEL_TIMEOUT_MS",
            "PUSHI_EVENTS_DEFAULT",
            "PUSHI_EVENTS_PER_CHANNEL",
            "PUSHI_EVENTS_PER_USER",
            "PUSHI_EVENTS_PER_APP",
            "PUSHI_CHANNEL_IDLE_MS",
            "PUSHI_COOKIE_S",
            "PUSHER_RENEWED_EVENTS",
            "PUSHI_RENEWED_EVENTS",
            "STORE_FORGET_S",
        ],
    ),
    (
        "how much the node does at a time; the rest waits for its next turn",
        &[
            "DEADLINES_PER_TURN",
            "UPGRADE_RECORD_BYTES",
            "STORE_SCAN_BYTES",
            "TLS_HANDSHAKE_STEPS_PER_TURN",
            "TLS_SEND_BYTES",
            "SWEEP_CHANNELS_PER_TICK",
            "PRESENCE_LEAVES_PER_TICK",
            "FOLLOWED_PER_TICK",
            "RECV_BYTES",
            "RECVS_PER_TURN",
            "SEND_FRAMES",
            "SENDS_PER_SUBMIT",
            "SENDS_WORTH_A_SUBMIT",
            "NET_RING_ENTRIES",
            "NET_RING_COMPLETIONS",
            "RUNTIME_RING_ENTRIES",
            "EPOLL_EVENTS",
            "TURNS_BEFORE_YIELD",
            "MAILS_PER_TURN",
            "SHED_PER_TICK",
            "DRAIN_SESSIONS_PER_S",
            "STORE_BATCH_JOBS",
            "STORE_BATCH_BYTES",
            "STORE_SWEEP_MS",
            "CLI_READ_BYTES",
        ],
    ),
    (
        "memory that is kept for the next time",
        &[
            "DUE_KEYS_KEPT",
            "RELAY_SHARED_PAYLOAD_BYTES",
            "REPLAY_FORMS",
            "SPARE_QUEUES",
            "WHEEL_KEYS_KEPT",
            "PUSHER_LIST_KEEP_BYTES",
            "STORE_CACHE_BYTES",
            "REPEATED_HEAD_MISSES",
            "METRICS_OPEN_FILES",
            "WS_DEFLATE_MIN_BYTES",
        ],
    ),
    (
        "when something is told or done",
        &[
            "RELAY_RETRY_STOP_MS",
            "RELAY_RETRY_UPGRADE_MS",
            "STALL_LOOK_MS",
            "STALL_BACKTRACE_MS",
            "UPGRADE_QUIET_MS",
            "UPGRADE_SEND_MS",
            "UPGRADE_LOOK_MS",
            "UPGRADE_UNREAD_BYTES",
            "UPGRADE_RESUME_ATTEMPTS",
            "STORE_LOG_MS",
            "TLS_EXPIRY_WARNING_DAYS",
            "OCCUPANCY_POLL_MS",
            "COUNT_AT_ONCE",
            "COUNT_PAUSE_MS",
            "TICK_MS",
            "WHEEL_SLOTS",
            "NODE_DRAIN_MS",
            "WEBHOOK_GRACE_MS",
            "WEBHOOK_LOG_MS",
            "PUSHI_PING_MS",
        ],
    ),
    (
        "what the node asks of the machine",
        &[
            "NODE_PEER_PROBES",
            "FILES_RESERVE",
            "BIND_ATTEMPTS",
            "BIND_PAUSE_MS",
            "RING_BUSY_PAUSE_MS",
            "LISTEN_BACKLOG",
            "NOTSENT_LOWAT_BYTES",
            "CONTROL_PAUSE_MS",
            "DOCTOR_RESERVED_FILES",
            "DOCTOR_ACCEPT_QUEUE",
            "DOCTOR_SYN_QUEUE",
            "DOCTOR_LOCAL_PORTS",
        ],
    ),
    (
        "the command line's own patience with a node",
        &["CLI_CONTROL_MS", "CLI_CONNECT_MS", "CLI_ANSWER_MS", "CLI_POLL_PAUSE_MS", "CLI_MESSAGE_BYTES"],
    ),
];

/// The names of all constants in src/limits, with their files.
fn constants() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/limits")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        for line in text.lines().filter_map(|line| line.trim_start().strip_prefix("pub const ")) {
            let name = line.split_once(':').unwrap().0;
            found.insert(name.to_owned(), path.file_name().unwrap().to_string_lossy().into_owned());
        }
    }
    assert!(found.len() > 200, "src/limits is somewhere else");
    found
}

#[test]
fn every_constant_is_accounted_for() {
    let mut left = constants();
    let (mut wrong, mut seen) = (Vec::new(), HashSet::new());
    let mut listed: Vec<&str> = Vec::new();
    // A name in lower case is a key without a constant.
    let is_constant = |name: &&str| name.chars().next().is_some_and(char::is_uppercase);
    listed.extend(CASES.iter().chain(TIMED).flat_map(|case| case.names).filter(|name| is_constant(name)));
    listed.extend(ELSEWHERE.iter().chain(UNREACHED).flat_map(|(names, _)| *names));
    listed.extend(NO_BOUND.iter().flat_map(|(_, names)| *names));
    for name in listed {
        // A name that is no constant hides nothing: the one that was meant is still missing.
        if !seen.insert(name) {
            wrong.push(format!("{name} is listed twice"));
        }
        left.remove(name);
    }
    let rest = left.iter().map(|(name, file)| {
        format!("src/limits/{file}: {name} is in none of the lists of tests/limits: which test reaches it?")
    });
    wrong.extend(rest);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_tests_that_are_named_exist() {
    let constants = constants();
    for (names, test) in
        ELSEWHERE.iter().filter(|(names, _)| names.iter().any(|n| constants.contains_key(*n)))
    {
        let (file, function) = test.split_once(' ').unwrap_or((test, ""));
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file));
        let text = text.unwrap_or_else(|error| panic!("{names:?}: {file}: {error}"));
        let is_there = function.is_empty() || text.contains(&format!("fn {function}("));
        assert!(is_there, "{names:?}: no {function} in {file}");
    }
}
