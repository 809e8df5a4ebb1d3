package quota

import (
	"net/netip"

	"kvorum/metadatalog/image"
)

// Kind is what a quota limits.
type Kind uint8

// The kinds of client quotas, by user and client id.
const (
	Produce     Kind = iota // bytes of Produce requests a second
	Fetch                   // bytes of Fetch responses to consumers a second
	RequestTime             // percent of one processor's time
	Mutations               // partitions created and deleted a second
	kinds
)

// keys are the names of the kinds in ClientQuotaRecords.
var keys = [kinds]string{"producer_byte_rate", "consumer_byte_rate", "request_percentage", "controller_mutation_rate"}

// connectionKey is the quota of an address.
const connectionKey = "connection_creation_rate"

// Limits are the quotas of all entities at one time. It does not change.
type Limits struct {
	kinds [kinds]table
	ips   map[netip.Addr]float64
	ip    *float64 // of every other address
}

// table has the quotas of one kind, by who they are given to.
type table struct {
	pairs map[pair]float64
}

// pair is an entity of a user and a client id, each of which may be a name, the
// default of its type, or absent.
type pair struct{ user, client image.QuotaName }

// FromImage reads the quotas of an image. Entities that name an address besides
// a user or a client id mean nothing, as in Apache, and are left out.
func FromImage(im *image.Image) *Limits {
	l := &Limits{ips: map[netip.Addr]float64{}}
	for q := range im.ClientQuotas() {
		if q.Entity.IP.Set {
			l.addIP(q)
			continue
		}
		for kind, key := range keys {
			bound, ok := q.Get(key)
			if !ok {
				continue
			}
			t := &l.kinds[kind]
			if t.pairs == nil {
				t.pairs = map[pair]float64{}
			}
			t.pairs[pair{q.Entity.User, q.Entity.ClientID}] = bound
		}
	}
	return l
}

func (l *Limits) addIP(q *image.ClientQuota) {
	bound, ok := q.Get(connectionKey)
	if !ok || q.Entity.User.Set || q.Entity.ClientID.Set {
		return
	}
	if q.Entity.IP.Default {
		l.ip = &bound
		return
	}
	if ip, err := netip.ParseAddr(q.Entity.IP.Name); err == nil {
		l.ips[ip.Unmap()] = bound
	}
}

// find returns the quota that holds for a client, and who shares it: clients with
// the same owner have one rate together. The order is that of Apache's
// DefaultQuotaCallback: a user's own quotas before those of client ids alone, a
// name before the default of its type.
func (l *Limits) find(kind Kind, user, client string) (bound float64, o owner, ok bool) {
	t := &l.kinds[kind]
	if len(t.pairs) == 0 {
		return 0, owner{}, false
	}
	named, clientNamed := image.QuotaName{Set: true, Name: user}, image.QuotaName{Set: true, Name: client}
	def, none := image.QuotaName{Set: true, Default: true}, image.QuotaName{}
	for _, try := range [...]pair{
		{named, clientNamed}, {named, def}, {named, none},
		{def, clientNamed}, {def, def}, {def, none},
		{none, clientNamed}, {none, def},
	} {
		if bound, ok = t.pairs[try]; !ok {
			continue
		}
		o = owner{kind: kind, byUser: try.user.Set, byClient: try.client.Set}
		if o.byUser {
			o.user = user
		}
		if o.byClient {
			o.client = client
		}
		return bound, o, true
	}
	return 0, owner{}, false
}

// findIP returns the connection rate of an address.
func (l *Limits) findIP(ip netip.Addr) (bound float64, ok bool) {
	if bound, ok = l.ips[ip]; ok {
		return bound, true
	}
	if l.ip != nil {
		return *l.ip, true
	}
	return 0, false
}

// owner is who shares one rate.
type owner struct {
	kind             Kind
	byUser, byClient bool
	user, client     string
	ip               netip.Addr // of connections; the rest is empty then
}
