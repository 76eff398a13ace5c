// Package hub knows which local subscriber listens to which channel and fans publications out to them.
//
// It does not know sockets, frames' contents, NATS, clients or permissions: connections come in as [Subscriber], bytes go out
// through an [Encoder], other nodes are behind [Broker].
//
// # Shards own connections
//
// A subscriber belongs to the shard its connection layer names ([Subscriber.Shard]), whatever it subscribes to, so one hot
// channel is fanned out by all cores. Each shard is one goroutine. The interest table, hub-wide and striped by channel hash,
// holds for every channel one branch per shard that has subscribers of it; it tells the broker when a channel's first
// subscriber comes and, after a linger, when the last has gone. A publication is posted to the branches' shards only, and
// carries the branch with it, so a shard looks nothing up.
//
//	Subscribe    -> interest table (stripe lock) -> control queue of the shard          never blocks
//	Deliver      -> interest table (stripe lock) -> bounded delivery queue of each shard  blocks while one is full
//	shard turn   -> apply all control, group publications by channel, join their frames into one buffer per
//	                encoding, Send it to each subscriber, Flush each subscriber that became dirty once
//
// # A turn is bounded
//
// A fan-out over a million subscribers with a write(2) each takes seconds. A shard therefore stops after
// [Config.TurnSubscribers] sends, flushes, applies the control that came meanwhile, takes what was delivered meanwhile and
// gives the next channel its slice: unfinished channels go round robin. At 10 us per write and the default of 512 a turn is
// about 5 ms, the longest that a control operation waits, and with n busy channels another channel waits at most n + 1
// turns. (Measured with a fan-out to 200,000 at 10 us each, on a busy machine: another channel waited 6 ms with turns of
// 256, 44 ms with 1,024, 2.1 s without the bound.) Control is applied all at once; connections bound it.
//
// Within a channel a batch is finished before the next one begins, which keeps the channel's order; meanwhile its
// publications gather and leave joined. The slice also bounds the dirty list, to 8 KiB.
//
// Delivered publications count against the mailbox until their batch is finished, so slices do not defeat the back-pressure;
// one channel may hold only [Config.ChannelLen] of them, so a flooded channel stops its own reader before it stops the others'.
//
// # Special subscriptions
//
// A plain subscription is sent every batch as it is: one frame per batch and encoding, shared by all. What needs more
// ([Special], and the encodings of deltas) has a pointer to it in its [Subscription], which costs the others a nil check per
// send, and is looked at batch by batch: held, sent in part, or whole. Parts that are equal share a frame too. The pointer
// goes as soon as the subscription has caught up: it was opened, an offset above its position has passed, and a delta has its
// base. A filter keeps it.
//
//	SubscribeSpecial(Hold) -> holds what comes -> Open -> a turn sends what was held -> skips what was told -> fast path
//	                              |                                                                              |
//	                              +-> too much ----------------> cut, OnCut <---- Cut, a panic -------------------+
//
// The owner puts the pointer in, the shard takes it out with a compare-and-swap; all behind it is the shard's. So a shard that
// has not heard that a subscription left and came back, and finds it at its old place in the list, sees at once that it holds.
//
// A cut stands in the queue of its channel like a publication and is a batch of its own: it goes through the list in slices,
// and the lists' three parts (see job) hold for it too. Why a publication is missing is no matter of the hub's.
//
// A delta is of use to whoever was sent the publication before. The hub gives an encoder a publication without its delta when
// that is not sure: the first one of a subscription, after one that the encoder left out, after one that was lost to a panic,
// behind a filter, and in what comes from outside the stream before the stream goes on.
//
// # What is promised
//
//   - Every subscription gets the publications of its channel in the order of Deliver, provided that one goroutine at a time
//     delivers a channel (one broker reader per channel). Between channels there is no order.
//   - Each publication at most once per subscription, and no gaps: from the first publication a subscription gets, it gets
//     every one until it unsubscribes.
//   - A publication whose Deliver began after Subscribe returned is sent to that subscription, unless Unsubscribe comes
//     first. Publications delivered earlier whose fan-out had not begun may be sent to it too.
//   - Unsubscribe removes exactly once, however often and from wherever it is called. After it no further Send begins for
//     this membership; one that has begun may end, even on a connection that is closed already: a Subscriber has to bear it.
//   - A subscription with Hold is sent nothing before Open, and then everything with an offset above the position it was
//     opened with, or with none, whose Deliver began after SubscribeSpecial returned, once and in order; or OnCut is told.
//   - After Cut returned nothing delivered later is sent to a subscription with Hold that was there before.
//   - Nothing is dropped: a full mailbox makes Deliver wait. The exceptions are Close and panics of what others wrote, which
//     are counted. A panic costs one batch, for those who do not have it yet, and cuts the positioned among them.
//   - A slow or closed Subscriber costs one Send that returns false; it never delays the shard.
//
// # Goroutines and locks
//
// One goroutine per shard (owns the lists of subscribers, the jobs and the dirty list), one sweeper for all lingering channels.
// Three kinds of lock, of which only the first may be held when another is taken: a stripe of the interest table, then the
// broker's own inside its Subscribe and Unsubscribe; a shard's mailbox, a leaf. No lock is held while a Subscriber or an
// Encoder is called.
//
// # Memory
//
// Per subscription: the [Subscription], 40 bytes, embedded by its owner, and 8 to 10 bytes in a list; 48 bytes while it is
// special, and 8 per batch it holds, which it shares with others. Per channel with one subscriber: about 190 bytes, name
// included (BenchmarkChannels; the budget of 300 is a test). Lists, queues and maps give memory back after a mass leave.
package hub
