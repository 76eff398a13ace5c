package main

import (
	"throng/broker"
	"throng/server/history"
)

// What JetStream stores, and this node's view of it.

func historyFamilies() []family {
	return append(streamFamilies(), pastFamilies()...)
}

func streamFamilies() []family {
	total := func(name, help string, value func(*broker.StreamsStats) uint64) family {
		return single(name, help, counter, func(s *Snapshot) float64 { return float64(value(&s.Streams)) })
	}
	return []family{
		labelled("throng_stream_stored_total", "Publications that NATS acknowledged, by result: stored, or a repetition of an idempotency key; the last two for channels without history.", counter, "result",
			func(s *Snapshot, put putFunc) {
				put(float64(s.Streams.Stored), "stored")
				put(float64(s.Streams.Duplicates), "duplicate")
				put(float64(s.Streams.OnceNew), "once_new")
				put(float64(s.Streams.OnceSeen), "once_seen")
			}),
		total("throng_stream_stored_bytes_total", "Payload bytes stored.", func(s *broker.StreamsStats) uint64 { return s.StoredBytes }),
		labelled("throng_stream_failed_total", "Publications accepted and not acknowledged, by reason.", counter, "reason",
			func(s *Snapshot, put putFunc) { putFailures(&s.Streams.Failed, put) }),
		labelled("throng_stream_refused_total", "Publications not even accepted for a stream, by reason.", counter, "reason",
			func(s *Snapshot, put putFunc) { putFailures(&s.Streams.Refused, put) }),
		{
			name: "throng_stream_ack_duration_seconds", help: "How long NATS took to acknowledge publications.",
			spread: func(s *Snapshot) ([]uint64, float64) { return s.Streams.AckBuckets[:], s.Streams.AckTime.Seconds() },
		},
		total("throng_stream_stray_acks_total", "Acknowledgements that came too late.", func(s *broker.StreamsStats) uint64 { return s.StrayAcks }),
		single("throng_stream_pending_publications", "Publications waiting for their acknowledgement.", gauge,
			func(s *Snapshot) float64 { return float64(s.Streams.Pending) }),
		labelled("throng_stream_reads_total", "Questions to JetStream, by what became of them: all, those asked again because the answer was old, those that failed.", counter, "kind",
			func(s *Snapshot, put putFunc) {
				put(float64(s.Streams.Reads), "all")
				put(float64(s.Streams.ReadRetries), "retry")
				put(float64(s.Streams.ReadFailures), "failed")
			}),
		total("throng_stream_read_messages_total", "Messages they brought.", func(s *broker.StreamsStats) uint64 { return s.ReadMessages }),
		total("throng_stream_read_bytes_total", "The same in bytes.", func(s *broker.StreamsStats) uint64 { return s.ReadBytes }),
		single("throng_stream_reads_under_way", "Questions to JetStream under way.", gauge,
			func(s *Snapshot) float64 { return float64(s.Streams.ReadsWaiting) }),
		labelled("throng_stream_events_total", "What happened to streams: doubts whether a message was missed, epochs this node began, streams that turned out unusable.", counter, "event",
			func(s *Snapshot, put putFunc) {
				put(float64(s.Streams.Doubts), "doubt")
				put(float64(s.Streams.Epochs), "epoch")
				put(float64(s.Streams.StreamFaults), "fault")
			}),
	}
}

func putFailures(counts *[broker.NumStoreFailures]uint64, put putFunc) {
	for i, n := range counts {
		put(float64(n), broker.StoreFailure(i).String())
	}
}

func pastFamilies() []family {
	total := func(name, help string, value func(*history.Stats) uint64) family {
		return single(name, help, counter, func(s *Snapshot) float64 { return float64(value(&s.Past)) })
	}
	return []family{
		single("throng_history_lines", "Channels whose stream this node follows.", gauge,
			func(s *Snapshot) float64 { return float64(s.Past.Lines) }),
		single("throng_history_lingering_lines", "Of these, without a subscriber.", gauge,
			func(s *Snapshot) float64 { return float64(s.Past.Lingering) }),
		single("throng_history_tail_bytes", "Publications kept in memory for clients that come back.", gauge,
			func(s *Snapshot) float64 { return float64(s.Past.TailBytes) }),
		total("throng_history_received_total", "Stored publications that came live.", func(s *history.Stats) uint64 { return s.Received }),
		labelled("throng_history_irregular_total", "Of these, what was not simply next: unreadable, delivered before, behind a gap, without room while a gap was mended.", counter, "kind",
			func(s *Snapshot, put putFunc) {
				put(float64(s.Past.Unreadable), "unreadable")
				put(float64(s.Past.Repeats), "repeat")
				put(float64(s.Past.Broken), "gap")
				put(float64(s.Past.PendingFull), "pending_full")
			}),
		total("throng_history_repairs_total", "Gaps mended from the stream.", func(s *history.Stats) uint64 { return s.Repaired }),
		total("throng_history_read_back_total", "Publications delivered from the stream because the live path had lost them.", func(s *history.Stats) uint64 { return s.ReadBack }),
		labelled("throng_history_cuts_total", "Gaps that could not be mended, so that subscribers were told, by why.", counter, "why",
			func(s *Snapshot, put putFunc) {
				put(float64(s.Past.CutLost), "lost")
				put(float64(s.Past.CutEpoch), "epoch")
				put(float64(s.Past.CutTimeout), "timeout")
			}),
		labelled("throng_history_opened_total", "Channels looked up for their first positioned subscriber, by success.", counter, "ok",
			func(s *Snapshot, put putFunc) {
				put(float64(s.Past.Opened), "yes")
				put(float64(s.Past.OpenFailures), "no")
			}),
		labelled("throng_history_recoveries_total", "Subscribers that asked for what they missed, by answer.", counter, "answer",
			func(s *Snapshot, put putFunc) {
				put(float64(s.Past.Recovered), "recovered")
				put(float64(s.Past.Unrecovered), "unrecovered")
				put(float64(s.Past.RecoverError), "error")
			}),
		total("throng_history_answered_from_memory_total", "Subscribers answered without asking NATS.", func(s *history.Stats) uint64 { return s.FromMemory }),
		labelled("throng_history_requests_total", "Requests to NATS on behalf of channels, by kind.", counter, "kind",
			func(s *Snapshot, put putFunc) {
				put(float64(s.Past.TopsRequests), "tops")
				put(float64(s.Past.Reads), "read")
				put(float64(s.Past.QueryReads), "query")
				put(float64(s.Past.ReadErrors), "failed")
			}),
		total("throng_history_read_messages_total", "Messages they brought.", func(s *history.Stats) uint64 { return s.ReadMessages }),
		labelled("throng_history_checks_total", "Comparisons of channels with their streams: all, those found elsewhere, doubts that caused some.", counter, "kind",
			func(s *Snapshot, put putFunc) {
				put(float64(s.Past.Checked), "checked")
				put(float64(s.Past.Strays), "stray")
				put(float64(s.Past.Doubts), "doubt")
			}),
		total("throng_history_tails_given_up_total", "Memories of channels given up for want of room.", func(s *history.Stats) uint64 { return s.TailsGivenUp }),
		labelled("throng_history_publications_total", "Publications into channels with history, by what became of them.", counter, "result",
			func(s *Snapshot, put putFunc) {
				put(float64(s.Past.Published), "stored")
				put(float64(s.Past.Duplicates), "duplicate")
				put(float64(s.Past.Suppressed), "old_version")
				put(float64(s.Past.Conflicts), "retried")
			}),
		total("throng_history_removed_total", "Histories removed.", func(s *history.Stats) uint64 { return s.Removed }),
		total("throng_history_queries_total", "History commands answered.", func(s *history.Stats) uint64 { return s.Queries }),
	}
}
