package main

import "strconv"

func sessionFamilies() []family {
	return []family{
		single("throng_session_sessions", "Connected clients of the Centrifuge protocol.", gauge,
			func(s *Snapshot) float64 { return float64(s.Sessions.Sessions) }),
		single("throng_session_subscriptions", "Their subscriptions, server-side ones included.", gauge,
			func(s *Snapshot) float64 { return float64(s.Sessions.Subscriptions) }),
		single("throng_session_users", "Users with a session on this node, the anonymous one included.", gauge,
			func(s *Snapshot) float64 { return float64(s.Sessions.Users) }),
		single("throng_session_opened_sessions_total", "Sessions begun.", counter,
			func(s *Snapshot) float64 { return float64(s.Sessions.Opened) }),
		labelled("throng_session_commands_total", "Commands by method.", counter, "method",
			func(s *Snapshot, put putFunc) {
				for method, n := range s.Sessions.Commands {
					put(float64(n), method.String())
				}
			}),
		labelled("throng_session_errors_total", "Error replies by code; 0 is the application's own codes.", counter, "code",
			func(s *Snapshot, put putFunc) {
				for code, n := range s.Sessions.Errors {
					put(float64(n), strconv.Itoa(int(code)))
				}
			}),
		labelled("throng_session_disconnects_total", "Connections ended by their session, by code; 0 is the application's own codes.", counter, "code",
			func(s *Snapshot, put putFunc) {
				for code, n := range s.Sessions.Disconnects {
					put(float64(n), strconv.Itoa(int(code)))
				}
			}),
		single("throng_session_pongs_total", "Answers to pings of the protocol.", counter,
			func(s *Snapshot) float64 { return float64(s.Sessions.Pongs) }),
		single("throng_session_server_unsubscribes_total", "Subscriptions ended by the server.", counter,
			func(s *Snapshot) float64 { return float64(s.Sessions.ServerUnsubscribes) }),
		labelled("throng_session_refusals_total", "What was not done, by reason: frames that ended their connection, commands that came too fast, "+
			"requests without room, refresh hooks that failed, joins and leaves that were lost, partial answers about presence.", counter, "reason",
			func(s *Snapshot, put putFunc) {
				put(float64(s.Sessions.BadFrames), "bad_frame")
				put(float64(s.Sessions.RateLimited), "rate_limited")
				put(float64(s.Sessions.RequestsFull), "requests_full")
				put(float64(s.Sessions.HookFailures), "hook_failed")
				put(float64(s.Sessions.LostJoins), "lost_join")
				put(float64(s.Sessions.PartialPresence), "partial_presence")
				put(float64(s.Sessions.Unconfirmed), "interest_unconfirmed")
				put(float64(s.Sessions.NotJSON), "past_not_json")
			}),
		labelled("throng_session_presence_questions_total", "Questions about presence: surveys of all nodes, and commands answered out of another one's survey.", counter, "kind",
			func(s *Snapshot, put putFunc) {
				put(float64(s.Sessions.PresenceSurveys), "survey")
				put(float64(s.Sessions.SharedPresence), "shared")
			}),
		single("throng_hub_not_json_publications_total", "Publications that JSON clients did not get because their data is not JSON, per shard.", counter,
			func(s *Snapshot) float64 { return float64(s.NotJSON) }),
	}
}

func controlFamilies() []family {
	return []family{
		single("throng_control_nodes", "Nodes known, this one included.", gauge,
			func(s *Snapshot) float64 { return float64(s.Control.Nodes) }),
		labelled("throng_control_calls_total", "Calls begun by this node, by kind.", counter, "kind",
			func(s *Snapshot, put putFunc) {
				put(float64(s.Control.Surveys), "survey")
				put(float64(s.Control.Asks), "ask")
				put(float64(s.Control.Requests), "request")
			}),
		single("throng_control_incomplete_surveys_total", "Surveys that not every node answered well.", counter,
			func(s *Snapshot) float64 { return float64(s.Control.Incomplete) }),
		single("throng_control_silent_nodes_total", "Nodes that did not answer, over all surveys.", counter,
			func(s *Snapshot) float64 { return float64(s.Control.Silent) }),
		labelled("throng_control_handled_requests_total", "Requests of other nodes, by result.", counter, "result",
			func(s *Snapshot, put putFunc) {
				put(float64(s.Control.Handled), "handled")
				put(float64(s.Control.Failed), "failed")
				put(float64(s.Control.Panics), "panic")
				put(float64(s.Control.Refused), "refused")
				put(float64(s.Control.Expired), "expired")
				put(float64(s.Control.Unsent), "unsent")
			}),
		labelled("throng_control_dropped_messages_total", "Control messages and calls dropped, by reason.", counter, "reason",
			func(s *Snapshot, put putFunc) {
				put(float64(s.Control.Malformed), "malformed")
				put(float64(s.Control.Stray), "stray")
				put(float64(s.Control.Busy), "busy")
			}),
		single("throng_control_forgotten_nodes_total", "Nodes that went silent without goodbye.", counter,
			func(s *Snapshot) float64 { return float64(s.Control.Forgotten) }),
		single("throng_control_calls_in_flight", "Calls waiting for answers.", gauge,
			func(s *Snapshot) float64 { return float64(s.Control.InFlight) }),
		single("throng_control_queued_requests", "Requests of other nodes waiting for a worker.", gauge,
			func(s *Snapshot) float64 { return float64(s.Control.Queued) }),
	}
}
