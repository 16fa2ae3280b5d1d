// Writes an nginx configuration for nchan from the same location list that fanwire takes as TOML,
// so that a test describes its server once and runs against either.
import { execFileSync } from 'node:child_process';
import os from 'node:os';

const TRANSPORTS = { multipart: 'multipart-mixed', raw: 'http-raw-stream' };

// location key -> nchan directive, where the value carries over as it is
const PLAIN = {
  buffer_messages: 'nchan_message_buffer_length',
  message_timeout: 'nchan_message_timeout',
  subscriber_timeout: 'nchan_subscriber_timeout',
  max_subscribers: 'nchan_max_channel_subscribers',
  max_channel_id_bytes: 'nchan_max_channel_id_length',
  channel_timeout: 'nchan_channel_timeout',
  first_message: 'nchan_subscriber_first_message',
  eventsource_event: 'nchan_eventsource_event',
  eventsource_ping_interval: 'nchan_eventsource_ping_interval',
  eventsource_ping_comment: 'nchan_eventsource_ping_comment',
  eventsource_ping_event: 'nchan_eventsource_ping_event',
  eventsource_ping_data: 'nchan_eventsource_ping_data',
  websocket_ping_interval: 'nchan_websocket_ping_interval',
  custom_etag_header: 'nchan_subscriber_message_id_custom_etag_header',
  group: 'nchan_channel_group',
  channel_events: 'nchan_channel_events_channel_id',
  allow_origin: 'nchan_access_control_allow_origin',
};

const FLAGS = {
  store_messages: 'nchan_store_messages',
  existing_channels_only: 'nchan_subscribe_existing_channels_only',
  compound_etag: 'nchan_subscriber_compound_etag_message_id',
  deflate: 'nchan_deflate_message_for_websocket',
  allow_credentials: 'nchan_access_control_allow_credentials',
};

const LIMITS = { channels: 'channels', subscribers: 'subscribers', messages: 'messages', memory_bytes: 'messages_memory' };

// hook header values: our variable -> nginx's
const VARIABLES = {
  $channel_id: '$nchan_channel_id',
  $subscriber_type: '$nchan_subscriber_type',
  $publisher_type: '$nchan_publisher_type',
  $message_id: '$nchan_message_id',
  $prev_message_id: '$nchan_prev_message_id',
  $request_uri: '$request_uri',
};

const quote = (value) => `"${String(value).replace(/[\\"]/g, '\\$&').replace(/\n/g, '\\n')}"`;

function hookLocation(name, url, headers, { withBody }) {
  const lines = [`location = ${name} {`, 'internal;', `proxy_pass ${url};`];
  if (!withBody) lines.push('proxy_pass_request_body off;', 'proxy_set_header Content-Length "";');
  for (const [field, value] of Object.entries(headers ?? {})) {
    lines.push(`proxy_set_header ${field} ${VARIABLES[value] ?? quote(value)};`);
  }
  return [...lines, '}'].join('\n  ');
}

function kindLines(location) {
  const types = (location.subscribers ?? ['websocket', 'eventsource', 'longpoll', 'chunked', 'multipart'])
    .map((t) => TRANSPORTS[t] ?? t)
    .join(' ');
  switch (location.methods) {
    case 'publisher':
      return ['nchan_publisher;'];
    case 'subscriber':
      return [`nchan_subscriber ${types};`];
    case 'pubsub':
      return [location.subscribers ? `nchan_subscriber ${types};\n nchan_publisher;` : 'nchan_pubsub;'];
    case 'group':
      return ['nchan_group_location;'];
    case 'status':
      return ['nchan_stub_status;'];
    default:
      throw new Error(`unknown methods ${location.methods}`);
  }
}

function locationLines(location, index) {
  const lines = kindLines(location);
  const hooks = [];
  for (const [key, directive] of [
    ['channel_id', 'nchan_channel_id'],
    ['publisher_channel_id', 'nchan_publisher_channel_id'],
    ['subscriber_channel_id', 'nchan_subscriber_channel_id'],
    ['last_message_id', 'nchan_subscriber_last_message_id'],
    ['websocket_heartbeat', 'nchan_websocket_client_heartbeat'],
  ]) {
    if (location[key]) lines.push(`${directive} ${location[key].map((v) => (v.startsWith('$') ? v : quote(v))).join(' ')};`);
  }
  if (location.split_delimiter) lines.push(`nchan_channel_id_split_delimiter ${quote(location.split_delimiter)};`);
  for (const [key, directive] of Object.entries(PLAIN)) {
    if (location[key] !== undefined) lines.push(`${directive} ${quote([location[key]].flat().join(' '))};`);
  }
  for (const [key, directive] of Object.entries(FLAGS)) {
    if (location[key] !== undefined) lines.push(`${directive} ${location[key] ? 'on' : 'off'};`);
  }
  // the two defaults that differ: fanwire keeps 100 messages where nchan keeps 10
  if (location.buffer_messages === undefined) lines.push('nchan_message_buffer_length 100;');
  if (location.longpoll_multipart !== undefined) {
    const value = location.longpoll_multipart === 'raw' ? 'raw' : location.longpoll_multipart ? 'on' : 'off';
    lines.push(`nchan_longpoll_multipart_response ${value};`);
  }
  if (location.raw_separator !== undefined) {
    // nchan puts a newline behind whatever separator it is given
    if (!location.raw_separator.endsWith('\n')) throw new Error('a raw separator must end with a newline to run on nchan');
    lines.push(`nchan_subscriber_http_raw_stream_separator ${quote(location.raw_separator.slice(0, -1))};`);
  }
  if (location.group_limits) {
    lines.push('nchan_channel_group_accounting on;');
    for (const [key, name] of Object.entries(LIMITS)) {
      if (location.group_limits[key]) lines.push(`nchan_group_max_${name} ${location.group_limits[key]};`);
    }
  }
  for (const [key, directive] of [
    ['authorize', 'nchan_authorize_request'],
    ['subscribe_hook', 'nchan_subscribe_request'],
    ['unsubscribe_hook', 'nchan_unsubscribe_request'],
    ['upstream', 'nchan_publisher_upstream_request'],
  ]) {
    if (!location[key]) continue;
    const name = `/__${key}${index}`;
    lines.push(`${directive} ${name};`);
    hooks.push(hookLocation(name, location[key], location.hook_headers, { withBody: key === 'upstream' }));
  }
  return { lines, hooks };
}

/** The whole nginx.conf as text. `dir` is a folder of ours for pid and temporary files. */
export function nginxConfig(locations, { port, dir, maxBody = '64m' }) {
  const blocks = locations.map((location, index) => {
    const { lines, hooks } = locationLines(location, index);
    const pattern = location.url ?? `^${location.prefix}(.+)$`;
    return [`location ~ ${quote(pattern).replace(/\\\\/g, '\\')} {`, ...lines.map((l) => `  ${l}`), '}', ...hooks].join('\n');
  });
  const temp = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((n) => `${n}_temp_path ${dir}/${n};`).join('\n');
  return `load_module ${modulesPath()}/ngx_nchan_module.so;
user ${os.userInfo().username};
daemon off;
master_process on;
worker_processes 1;
pid ${dir}/nginx.pid;
error_log stderr warn;
events { worker_connections 4000; }
http {
${temp}
access_log off;
client_max_body_size ${maxBody};
subrequest_output_buffer_size 4m;
nchan_shared_memory_size 64m;
server {
listen 127.0.0.1:${port};
${blocks.join('\n')}
}
}
`;
}

let cachedModulesPath;
function modulesPath() {
  cachedModulesPath ??= /--modules-path=(\S+)/.exec(execFileSync('sh', ['-c', 'nginx -V 2>&1'], { encoding: 'utf8' }))[1];
  return cachedModulesPath;
}
