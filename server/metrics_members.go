package main

func memberFamilies() []family {
	return []family{
		labelled("throng_members_channels", "Channels whose clients on other nodes are kept, because somebody here hears joins and leaves; and those over a limit, of which nothing is.",
			gauge, "state", func(s *Snapshot, put putFunc) {
				put(float64(s.Members.Channels), "watched")
				put(float64(s.Members.Degraded), "degraded")
			}),
		single("throng_members_clients", "Clients on other nodes, once for each of these channels they are in.", gauge,
			func(s *Snapshot) float64 { return float64(s.Members.Members) }),
		single("throng_members_bytes", "Memory they are counted with.", gauge,
			func(s *Snapshot) float64 { return float64(s.Members.Bytes) }),
		single("throng_members_waiting_questions", "Channels and nodes that wait to be asked about.", gauge,
			func(s *Snapshot) float64 { return float64(s.Members.Waiting) }),
		single("throng_members_degraded_channels_total", "Channels that went over a limit: a node that dies takes its clients along silently.", counter,
			func(s *Snapshot) float64 { return float64(s.Members.Degradations) }),
		labelled("throng_members_questions_total", "Questions to other nodes about who is there, and what went wrong with them: not answered by all, "+
			"answers that make no sense, channels that make do without some node.", counter, "result",
			func(s *Snapshot, put putFunc) {
				put(float64(s.Members.Questions), "asked")
				put(float64(s.Members.Incomplete), "incomplete")
				put(float64(s.Members.Unreadable), "unreadable")
				put(float64(s.Members.Unfinished), "given_up")
			}),
		single("throng_members_gone_nodes_total", "Nodes that said goodbye or went silent.", counter,
			func(s *Snapshot) float64 { return float64(s.Members.GoneNodes) }),
		labelled("throng_members_told_total", "Joins and leaves that this node told its own clients, by reason: leaves of a node that is gone, leaves and joins that were "+
			"missed and found out by asking. And those not passed on because they had been told.", counter, "reason",
			func(s *Snapshot, put putFunc) {
				put(float64(s.Members.Mourned), "node_gone")
				put(float64(s.Members.Missed), "missed_leave")
				put(float64(s.Members.Found), "missed_join")
				put(float64(s.Members.Repeated), "not_repeated")
			}),
	}
}
