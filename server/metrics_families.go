package main

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"throng/broker"
)

const (
	counter = prometheus.CounterValue
	gauge   = prometheus.GaugeValue
)

// metricFamilies is the one table of metrics. Names are throng_<package>_<noun>_<unit>[_total].
func metricFamilies() []family {
	return slices.Concat(nodeFamilies(), wsConnectionFamilies(), wsTrafficFamilies(), hubFamilies(), brokerFamilies(), brokerStateFamilies(), chatFamilies(), sessionFamilies(), historyFamilies(), controlFamilies(), memberFamilies(), apiFamilies())
}

// single is a family of one sample without labels.
func single(name, help string, kind prometheus.ValueType, value func(s *Snapshot) float64) family {
	return family{name: name, help: help, kind: kind, read: func(s *Snapshot, put putFunc) { put(value(s)) }}
}

// labelled is a family with one label; read puts one sample per value of it.
func labelled(name, help string, kind prometheus.ValueType, label string, read func(s *Snapshot, put putFunc)) family {
	return family{name: name, help: help, kind: kind, labels: []string{label}, read: read}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func nodeFamilies() []family {
	return []family{
		single("throng_node_ready", "1 while this node wants new clients.", gauge,
			func(s *Snapshot) float64 { return truth(s.Ready) }),
		single("throng_node_draining", "1 from SIGTERM on.", gauge,
			func(s *Snapshot) float64 { return truth(s.Draining) }),
		single("throng_node_suppressed_log_lines_total", "Log lines held back because the same message came too often.", counter,
			func(s *Snapshot) float64 { return float64(s.LogSuppressed) }),
	}
}

func wsConnectionFamilies() []family {
	return []family{
		labelled("throng_ws_connections", "Client connections by state: handshaking, open (upgraded), http (held by net/http).", gauge, "state",
			func(s *Snapshot, put putFunc) {
				put(float64(s.WS.Handshaking), "handshaking")
				put(float64(s.WS.Connections), "open")
				put(float64(s.WS.HTTP), "http")
			}),
		single("throng_ws_connections_limit", "Clients this node may hold.", gauge,
			func(s *Snapshot) float64 { return float64(s.ConnectionLimit) }),
		single("throng_ws_accepted_connections_total", "Connections taken from the listeners.", counter,
			func(s *Snapshot) float64 { return float64(s.WS.Accepted) }),
		single("throng_ws_dropped_connections_total", "Connections closed unanswered: out of descriptors.", counter,
			func(s *Snapshot) float64 { return float64(s.WS.Dropped) }),
		single("throng_ws_accept_errors_total", "Failures of accept, such as EMFILE.", counter,
			func(s *Snapshot) float64 { return float64(s.WS.AcceptErrors) }),
		labelled("throng_ws_handshakes_total", "Ends of handshakes, by result.", counter, "result",
			func(s *Snapshot, put putFunc) { putAll(s.WS.Handshakes, put) }),
		single("throng_ws_client_addresses", "Addresses that clients come from, as --address-connections counts them; 0 without that limit.", gauge,
			func(s *Snapshot) float64 { return float64(s.WS.Addresses) }),
		single("throng_ws_bad_forwarded_total", "Requests of trusted proxies with an X-Forwarded-For that cannot be read; the proxy counted as the client.", counter,
			func(s *Snapshot) float64 { return float64(s.WS.BadForwarded) }),
		{name: "throng_ws_closes_total", help: "Ended connections, by the side that ended them and the close code.", kind: counter, labels: []string{"side", "code"},
			read: func(s *Snapshot, put putFunc) {
				putAll(s.WS.ClosedByPeer, func(v float64, code ...string) { put(v, "peer", code[0]) })
				putAll(s.WS.ClosedByServer, func(v float64, code ...string) { put(v, "server", code[0]) })
			}},
		single("throng_ws_pong_timeouts_total", "Connections cut because a ping was not answered.", counter,
			func(s *Snapshot) float64 { return float64(s.WS.PongTimeouts) }),
		single("throng_ws_slow_consumers_total", "Connections cut because their outbox was over its limit.", counter,
			func(s *Snapshot) float64 { return float64(s.WS.SlowConsumers) }),
		single("throng_ws_lost_posts_total", "Calls for a connection's poller that found its inbox full.", counter,
			func(s *Snapshot) float64 { return float64(s.WS.LostPosts) }),
		single("throng_ws_panics_total", "Panics of handlers; each cost one connection.", counter,
			func(s *Snapshot) float64 { return float64(s.WS.Panics) }),
	}
}

func wsTrafficFamilies() []family {
	return []family{
		labelled("throng_ws_received_messages_total", "Messages and control frames from clients, by opcode.", counter, "opcode",
			func(s *Snapshot, put putFunc) {
				put(float64(s.WS.TextIn), "text")
				put(float64(s.WS.BinaryIn), "binary")
				put(float64(s.WS.PingsIn), "ping")
				put(float64(s.WS.PongsIn), "pong")
			}),
		single("throng_ws_received_bytes_total", "Bytes read from clients.", counter,
			func(s *Snapshot) float64 { return float64(s.WS.BytesIn) }),
		single("throng_ws_sent_bytes_total", "Bytes written to clients.", counter,
			func(s *Snapshot) float64 { return float64(s.WS.BytesOut) }),
		single("throng_ws_writes_total", "Write system calls to clients.", counter,
			func(s *Snapshot) float64 { return float64(s.WS.Writes) }),
		single("throng_ws_sent_pings_total", "Keepalive pings sent.", counter,
			func(s *Snapshot) float64 { return float64(s.WS.PingsOut) }),
		single("throng_ws_outbox_bytes", "Unsent bytes of connections whose socket is full.", gauge,
			func(s *Snapshot) float64 { return float64(s.WS.OutboxBytes) }),
		single("throng_ws_blocked_connections", "Connections whose socket is full.", gauge,
			func(s *Snapshot) float64 { return float64(s.WS.Blocked) }),
		labelled("throng_ws_lost_bytes_total", "Outbox bytes that never left, by reason: slow_consumer, closed.", counter, "reason",
			func(s *Snapshot, put putFunc) {
				put(float64(s.WS.LostBytesSlow), "slow_consumer")
				put(float64(s.WS.LostBytesUnsent), "closed")
			}),
	}
}

func hubFamilies() []family {
	return []family{
		single("throng_hub_publications_total", "Publications that came from the broker.", counter,
			func(s *Snapshot) float64 { return float64(s.Hub.Publications) }),
		single("throng_hub_unheard_publications_total", "Of these, without a local subscriber any more.", counter,
			func(s *Snapshot) float64 { return float64(s.Hub.Unheard) }),
		labelled("throng_hub_lost_publications_total", "Publications not fanned out, by reason, counted per shard.", counter, "reason",
			func(s *Snapshot, put putFunc) {
				put(float64(s.Hub.LostClosed), "closed")
				put(float64(s.Hub.Unreadable), "unreadable_meta")
				put(float64(s.Hub.LostPanic), "panic")
			}),
		single("throng_hub_batches_total", "Groups of publications fanned out together.", counter,
			func(s *Snapshot) float64 { return float64(s.Hub.Batches) }),
		single("throng_hub_frames_total", "Buffers built, one per batch and encoding.", counter,
			func(s *Snapshot) float64 { return float64(s.Hub.Frames) }),
		single("throng_hub_deliveries_total", "Publications times the subscribers they were sent to.", counter,
			func(s *Snapshot) float64 { return float64(s.Hub.Deliveries) }),
		single("throng_hub_delivered_bytes_total", "Bytes handed to subscribers.", counter,
			func(s *Snapshot) float64 { return float64(s.Hub.Bytes) }),
		single("throng_hub_filtered_publications_total", "Publications times the subscribers whose tags filter did not want them.", counter,
			func(s *Snapshot) float64 { return float64(s.Hub.Filtered) }),
		single("throng_hub_cut_subscriptions_total", "Subscriptions with a position that were ended because they would have missed something.", counter,
			func(s *Snapshot) float64 { return float64(s.Hub.Cuts) }),
		single("throng_hub_hold_overflows_total", "Of these, because too much came while they waited for their history.", counter,
			func(s *Snapshot) float64 { return float64(s.Hub.HoldOverflows) }),
		single("throng_hub_panics_total", "Panics in the fan-out; each cost one batch.", counter,
			func(s *Snapshot) float64 { return float64(s.Hub.Panics) }),
		single("throng_hub_special_subscriptions", "Subscriptions that do not share every frame: held, filtered, or before their first publication.", gauge,
			func(s *Snapshot) float64 { return float64(s.Hub.Special) }),
		single("throng_hub_held_subscriptions", "Of these, waiting for their history.", gauge,
			func(s *Snapshot) float64 { return float64(s.Hub.Held) }),
		single("throng_hub_turns_total", "Fan-out turns of all shards.", counter,
			func(s *Snapshot) float64 { return float64(s.Hub.Turns) }),
		single("throng_hub_subscriptions", "Subscriptions of local clients.", gauge,
			func(s *Snapshot) float64 { return float64(s.Hub.Subscribers) }),
		single("throng_hub_channels", "Channels this node follows, lingering ones included.", gauge,
			func(s *Snapshot) float64 { return float64(s.Hub.Channels) }),
		single("throng_hub_lingering_channels", "Of these, without a subscriber for a moment.", gauge,
			func(s *Snapshot) float64 { return float64(s.Hub.Lingering) }),
		single("throng_hub_mailbox_publications", "Publications waiting for shards.", gauge,
			func(s *Snapshot) float64 { return float64(s.Hub.MailboxDepth) }),
		single("throng_hub_mailbox_changes", "Joins and leaves waiting for shards.", gauge,
			func(s *Snapshot) float64 { return float64(s.Hub.ControlDepth) }),
	}
}

func brokerFamilies() []family {
	return []family{
		single("throng_broker_published_messages_total", "Messages handed to NATS.", counter,
			func(s *Snapshot) float64 { return float64(s.Broker.Published) }),
		single("throng_broker_published_bytes_total", "Payload bytes handed to NATS.", counter,
			func(s *Snapshot) float64 { return float64(s.Broker.PublishedBytes) }),
		single("throng_broker_delivered_messages_total", "Messages from NATS given to the hub.", counter,
			func(s *Snapshot) float64 { return float64(s.Broker.Delivered) }),
		single("throng_broker_delivered_bytes_total", "Payload bytes from NATS given to the hub.", counter,
			func(s *Snapshot) float64 { return float64(s.Broker.DeliveredBytes) }),
		labelled("throng_broker_lost_messages_total", "Messages that did not pass, by reason.", counter, "reason",
			func(s *Snapshot, put putFunc) {
				for i, n := range s.Broker.Lost {
					put(float64(n), broker.LossReason(i).String())
				}
			}),
		single("throng_broker_disconnects_total", "Times the NATS link was lost.", counter,
			func(s *Snapshot) float64 { return float64(s.Broker.Disconnects) }),
		single("throng_broker_reconnects_total", "Times the NATS link came back.", counter,
			func(s *Snapshot) float64 { return float64(s.Broker.Reconnects) }),
		single("throng_broker_slow_consumers_total", "Times this node was too slow for NATS or a reader for its channel.", counter,
			func(s *Snapshot) float64 { return float64(s.Broker.SlowConsumer) }),
		single("throng_broker_async_errors_total", "Errors NATS reported outside any call.", counter,
			func(s *Snapshot) float64 { return float64(s.Broker.AsyncErrors) }),
		single("throng_broker_lame_ducks_total", "Times the NATS server announced its shutdown.", counter,
			func(s *Snapshot) float64 { return float64(s.Broker.LameDuck) }),
	}
}

func brokerStateFamilies() []family {
	return []family{
		single("throng_broker_connected", "1 while the NATS link is up.", gauge,
			func(s *Snapshot) float64 { return truth(s.Broker.Connected) }),
		single("throng_broker_max_payload_bytes", "Largest message NATS takes.", gauge,
			func(s *Snapshot) float64 { return float64(s.Broker.MaxPayload) }),
		single("throng_broker_interest_channels", "Channels subscribed at NATS.", gauge,
			func(s *Snapshot) float64 { return float64(s.Broker.Interest) }),
		single("throng_broker_interest_wide_channels", "Of these, heard by the one subscription on all channels, see --wide-interest.", gauge,
			func(s *Snapshot) float64 { return float64(s.Broker.WideInterest) }),
		single("throng_broker_unwanted_messages_total", "Messages that the subscription on all channels heard for nothing.", counter,
			func(s *Snapshot) float64 { return float64(s.Broker.Unwanted) }),
		single("throng_broker_interest_native_channels", "Of these, on NATS subjects of others.", gauge,
			func(s *Snapshot) float64 { return float64(s.Broker.NativeInterest) }),
		single("throng_broker_interest_pending_changes", "Changes of interest not yet passed to NATS.", gauge,
			func(s *Snapshot) float64 { return float64(s.Broker.InterestPending) }),
		single("throng_broker_publish_queue_messages", "Messages accepted and not yet written to NATS.", gauge,
			func(s *Snapshot) float64 { return float64(s.Broker.QueueMessages) }),
		single("throng_broker_publish_queue_bytes", "The same in bytes.", gauge,
			func(s *Snapshot) float64 { return float64(s.Broker.QueueBytes) }),
		single("throng_broker_reader_messages", "Messages received and waiting for the hub.", gauge,
			func(s *Snapshot) float64 { return float64(s.Broker.ReaderMessages) }),
	}
}

func chatFamilies() []family {
	return []family{
		single("throng_livechat_sessions", "Open chat sessions.", gauge,
			func(s *Snapshot) float64 { return float64(s.Chat.Sessions) }),
		labelled("throng_livechat_messages_total", "Messages from clients, by opcode.", counter, "opcode",
			func(s *Snapshot, put putFunc) {
				put(float64(s.Chat.Text), "text")
				put(float64(s.Chat.Binary), "binary")
			}),
		single("throng_livechat_greetings_total", "Greetings sent.", counter,
			func(s *Snapshot) float64 { return float64(s.Chat.Greetings) }),
		single("throng_livechat_early_greetings_total", "Of these, sent without their delay because too many were waiting.", counter,
			func(s *Snapshot) float64 { return float64(s.Chat.GreetingsEarly) }),
		single("throng_livechat_waiting_greetings", "Greetings waiting for their delay.", gauge,
			func(s *Snapshot) float64 { return float64(s.Chat.GreetingsWaiting) }),
		single("throng_livechat_refused_rooms_total", "Joins refused for their room's name.", counter,
			func(s *Snapshot) float64 { return float64(s.Chat.RefusedRooms) }),
		labelled("throng_livechat_lost_messages_total", "Messages from clients that were not published, by reason.", counter, "reason",
			func(s *Snapshot, put putFunc) {
				put(float64(s.Chat.LostBusy), "busy")
				put(float64(s.Chat.LostDisconnected), "disconnected")
				put(float64(s.Chat.LostTooBig), "too_big")
				put(float64(s.Chat.LostClosed), "closed")
				put(float64(s.Chat.LostOther), "other")
			}),
	}
}

// putAll puts one sample per key of counts.
func putAll(counts map[string]uint64, put putFunc) {
	for label, n := range counts {
		put(float64(n), label)
	}
}
