package session

import "throng/server/wire"

// LocalPresence returns who is in a channel on this node, at most Config.MaxPresence of them; more is an error. For the
// server API, which asks every node. Any goroutine but pollers.
func (v *Service) LocalPresence(name string) ([]wire.ClientInfo, error) {
	list, n := v.presence.snapshot(name, inPresence, v.cfg.MaxPresence)
	if n > len(list) {
		return nil, errCrowd
	}
	return infosOf(list), nil
}

// LocalMembers returns who is in a channel on this node as far as joins and leaves are told of them, at most limit, and how many
// there are. For package members on other nodes. Any goroutine but pollers.
func (v *Service) LocalMembers(name string, limit int) (some []wire.ClientInfo, all int) {
	list, all := v.presence.snapshot(name, tellsJoins, limit)
	return infosOf(list), all
}

func infosOf(list []member) []wire.ClientInfo {
	infos := make([]wire.ClientInfo, len(list))
	for i := range list {
		m := &list[i]
		infos[i] = wire.ClientInfo{User: m.user, Client: string(appendID(nil, &m.id)), ConnInfo: m.connInfo, ChanInfo: m.chanInfo}
	}
	return infos
}
