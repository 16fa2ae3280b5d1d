// Configuration of sockudo (crate), another server of the Pusher protocol: tests are held against it while they are
// written. SOCKUDO_BIN names its binary.

const seconds = (text, otherwise) => (text === undefined ? otherwise : Math.max(1, parseFloat(text)));

export function sockudoConfig({ port, apps = [{ id: '1', key: 'dev-key', secret: 'dev-secret' }], pusher = {} }) {
  const appToml = (app) => `[[app_manager.array.apps]]
id = ${JSON.stringify(app.id)}
key = ${JSON.stringify(app.key)}
secret = ${JSON.stringify(app.secret)}
enabled = ${app.enabled ?? true}
[app_manager.array.apps.policy.limits]
max_connections = ${app.max_connections ?? 10000}
max_client_events_per_second = 10
[app_manager.array.apps.policy.features]
enable_client_messages = ${app.client_events ?? true}
enable_user_authentication = true
enable_watchlist_events = true
[app_manager.array.apps.policy.channels]
allowed_origins = ["*"]
`;
  return `mode = "production"
host = "127.0.0.1"
port = ${port}
activity_timeout = ${seconds(pusher.activity_timeout, 120)}
user_authentication_timeout = 3600
shutdown_grace_period = 1
[app_manager]
driver = "memory"
${apps.map(appToml).join('')}
[adapter]
driver = "local"
[cache]
driver = "memory"
[queue]
driver = "memory"
[rate_limiter]
enabled = false
driver = "memory"
[metrics]
enabled = false
[ssl]
enabled = false
`;
}
