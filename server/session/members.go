package session

// Members is what sessions need of *members.Table, which keeps who is in a channel on other nodes while anybody here hears joins
// and leaves. Neither method blocks; channel is kept.
type Members interface {
	Watch(channel string)
	Unwatch(channel string)
}

// watchJoins is called behind the subscription's entry into the hub: what is told before that is missed by all.
func (v *Service) watchJoins(u *subscription) {
	if u.is(hearsJoins) && v.parts.Members != nil {
		v.parts.Members.Watch(u.name)
	}
}

func (v *Service) unwatchJoins(u *subscription) {
	if u.is(hearsJoins) && v.parts.Members != nil {
		v.parts.Members.Unwatch(u.name)
	}
}
