package main

import (
	"context"

	"throng/broker"
	"throng/server/members"
	"throng/server/session"
	"throng/server/wire"
)

// Who is where on other nodes: the control plane as sessions and members want it.

// surveyor asks all nodes by the control plane.
type surveyor struct{ control *broker.Control }

var _ session.Surveyor = surveyor{}

// Survey implements session.Surveyor. A node that NATS knows nothing of has no clients to speak of: what was told of them before
// ends when the node is forgotten.
func (s surveyor) Survey(ctx context.Context, op string, payload []byte) (answers [][]byte, silent int, err error) {
	all, err := s.control.Survey(ctx, op, payload)
	for _, a := range all.Answers {
		if a.Err != nil {
			silent++
			continue
		}
		answers = append(answers, a.Data)
	}
	for _, one := range all.Silent {
		if !one.Unreachable {
			silent++
		}
	}
	return answers, silent, err
}

// membersOp is the survey that members.Table.Answer answers.
const membersOp = "members"

// memberCluster is the control plane as package members wants it.
type memberCluster struct{ *broker.Control }

// Neighbours implements members.Cluster.
func (c memberCluster) Neighbours(dst []members.Neighbour) []members.Neighbour {
	for _, n := range c.Control.Neighbours(nil) {
		dst = append(dst, members.Neighbour{UID: n.UID, Losses: n.Link + n.Counts.LostJoins})
	}
	return dst
}

// Survey implements members.Cluster.
func (c memberCluster) Survey(ctx context.Context, to string, question []byte) (answers []members.Answer, missing int, err error) {
	if to != "" {
		data, err := c.Ask(ctx, to, membersOp, question)
		if err != nil {
			return nil, 1, err
		}
		return []members.Answer{{Node: to, Data: data}}, 0, nil
	}
	all, err := c.Control.Survey(ctx, membersOp, question)
	missing = len(all.Silent)
	for _, a := range all.Answers {
		if a.Err != nil {
			missing++
			continue
		}
		answers = append(answers, members.Answer{Node: a.Node.UID, Data: a.Data})
	}
	return answers, missing, err
}

// startMembers begins to keep who is on other nodes in channels whose joins and leaves somebody here hears.
func (n *node) startMembers() {
	c := &n.cfg.Client
	n.members = members.New(members.Config{MaxChannel: c.MaxMembers, MaxBytes: c.MaxMemberBytes, Linger: n.cfg.InterestLinger}, members.Parts{
		Hub: n.hub, Cluster: memberCluster{n.control}, Sync: n.broker.Sync,
		Local: func(name string, limit int) ([]wire.ClientInfo, int) { return n.sessions.LocalMembers(name, limit) },
	})
}
