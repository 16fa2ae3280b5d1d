// A server on the library centrifuge: anybody may connect and subscribe to any channel, and publish by HTTP.
package main

import (
	"context"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/centrifugal/centrifuge"
)

const publishPath = "/pub/"

func newNode() (*centrifuge.Node, error) {
	config := centrifuge.DefaultConfig
	// Nothing of presence is in use; 0 would make every client's timer fire without end.
	config.ClientPresenceUpdateInterval = 24 * time.Hour
	node, err := centrifuge.New(config)
	if err != nil {
		return nil, err
	}
	node.OnConnecting(func(context.Context, centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
		anybody := centrifuge.Credentials{UserID: "anybody"}
		return centrifuge.ConnectReply{Credentials: &anybody}, nil
	})
	node.OnConnect(func(client *centrifuge.Client) {
		client.OnSubscribe(func(_ centrifuge.SubscribeEvent, reply centrifuge.SubscribeCallback) {
			reply(centrifuge.SubscribeReply{}, nil)
		})
	})
	return node, node.Run()
}

func main() {
	node, err := newNode()
	if err != nil {
		log.Fatal(err)
	}
	http.Handle("/connection/websocket", centrifuge.NewWebsocketHandler(node, centrifuge.WebsocketConfig{
		CheckOrigin:        func(*http.Request) bool { return true },
		UseWriteBufferPool: true,
		// Servers that wait for their turn are stopped and would miss the pongs meanwhile.
		PingInterval: time.Hour,
	}))
	http.HandleFunc(publishPath, func(answer http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(request.Body)
		if err != nil {
			return
		}
		// The protocol carries JSON; a text is a JSON string.
		data, _ := json.Marshal(string(body))
		if _, err := node.Publish(strings.TrimPrefix(request.URL.Path, publishPath), data); err != nil {
			http.Error(answer, err.Error(), http.StatusInternalServerError)
			return
		}
		answer.WriteHeader(http.StatusAccepted)
	})
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), nil))
}
