#!/bin/bash
# nginx with the nchan module, from Debian: one worker, messages stored in memory as fanwire does by default.
. "$(dirname "$0")/common.sh"
if installing; then
  debian nginx-light libnginx-mod-nchan
  exit
fi
need nginx
mkdir -p "$DIR/tmp"
modules=$(nginx -V 2>&1 | tr ' ' '\n' | sed -n 's/^--modules-path=//p')
cat >"$DIR/nginx.conf" <<CONF
load_module $modules/ngx_nchan_module.so;
user $(id -un);
daemon off;
worker_processes 1;
worker_rlimit_nofile $(ulimit -Hn);
pid $DIR/nginx.pid;
error_log stderr warn;
events { worker_connections $(($(ulimit -Hn) - 100)); multi_accept on; }
http {
  access_log off;
  client_body_temp_path $DIR/tmp/body;
  proxy_temp_path $DIR/tmp/proxy;
  fastcgi_temp_path $DIR/tmp/fastcgi;
  uwsgi_temp_path $DIR/tmp/uwsgi;
  scgi_temp_path $DIR/tmp/scgi;
  keepalive_requests 1000000000;
  keepalive_timeout 1h;
  nchan_shared_memory_size 256m;
  server {
    listen 127.0.0.1:$PORT backlog=4096;
    location ~ ^/sub/(.+)\$ {
      nchan_subscriber websocket;
      nchan_channel_id \$1;
    }
    location ~ ^/pub/(.+)\$ {
      nchan_publisher http;
      nchan_channel_id \$1;
      nchan_message_buffer_length 1000;
      nchan_message_timeout 1h;
    }
  }
}
CONF
exec nginx -p "$DIR" -c "$DIR/nginx.conf" -e stderr
