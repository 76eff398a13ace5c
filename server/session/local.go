package session

import "throng/server/wire"

// LocalPresence returns who is in a channel on this node, at most Config.MaxPresence of them; more is an error. For the
// server API, which asks every node. Any goroutine but pollers.
func (v *Service) LocalPresence(name string) ([]wire.ClientInfo, error) {
	list, n := v.presence.snapshot(name, v.cfg.MaxPresence)
	if n > len(list) {
		return nil, errCrowd
	}
	infos := make([]wire.ClientInfo, len(list))
	for i := range list {
		m := &list[i]
		infos[i] = wire.ClientInfo{User: m.user, Client: string(appendID(nil, &m.id)), ConnInfo: m.connInfo, ChanInfo: m.chanInfo}
	}
	return infos, nil
}
