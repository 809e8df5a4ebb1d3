package listener

import (
	"log/slog"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/protocol"
	"kvorum/protocol/errors"
)

// Audit writes a line for each request that changes the cluster, whatever became
// of it, and for each that was denied: who asked from where for what, and the
// outcome. Names are all that is taken from a body, as the rest may be secret.
//
// Lines about denied requests go through a gate, as everything that any peer can
// cause to be logged. The others do not, or a flood would hide a change: who may
// change the cluster is known, and the controllers' mutation quota bounds them.
//
// A nil Audit writes nothing. Safe for concurrent use.
type Audit struct {
	log     *slog.Logger
	denials bool
	denied  gate
	codes   sync.Map // reflect.Type of an answer to *protocol.Codes; bounded by the API table
}

// NewAudit returns an audit that writes to log. With denials it looks into the
// answers of all requests and not only of those that change something: nodes
// without an authorizer deny nothing and need not.
func NewAudit(log *slog.Logger, denials bool) *Audit { return &Audit{log: log, denials: denials} }

// Asker is who sent a request.
type Asker struct {
	Principal protocol.Principal
	Client    netip.Addr
	Listener  string
	// Forwarder is the broker whose Envelope brought it, for its client; the zero
	// Addr where the client asked itself.
	Forwarder netip.Addr
}

// Answered writes the line of a request, if it is to have one. resp is nil where
// there is no answer, or nobody knows what it says; such a request is not audited.
func (a *Audit) Answered(who Asker, r *protocol.Request, resp kmsg.Response) {
	if a == nil || resp == nil {
		return
	}
	changed, changes := changed(r.Body)
	if !changes && !a.denials {
		return
	}
	o := a.outcome(resp)
	if !changes && !o.denied || slices.Contains(o.errors, errors.NotController) {
		return // one that is not the active controller says nothing: it is asked again elsewhere
	}
	id := ""
	if r.ClientID != nil {
		id = shortened(*r.ClientID)
	}
	args := []any{"outcome", o.String(), "api", r.Key.String(), "principal", shortened(who.Principal.String()), "client", who.Client, "client_id", id,
		"listener", who.Listener, "forwarded", who.Forwarder.IsValid()}
	if who.Forwarder.IsValid() {
		args = append(args, "forwarder", who.Forwarder)
	}
	args = append(args, "resources", changed.String())
	if len(o.errors) > 0 {
		args = append(args, "errors", o.codes())
	}
	if o.denied {
		a.denied.info(a.log, "audit", args...)
		return
	}
	a.log.Info("audit", args...)
}

// maxAuditErrors is how many different errors a line names.
const maxAuditErrors = 5

// outcome is what the error codes of an answer say.
type outcome struct {
	denied bool
	errors []errors.Code // the first ones, each once
}

func (a *Audit) outcome(resp kmsg.Response) (o outcome) {
	t := reflect.TypeOf(resp).Elem()
	codes, ok := a.codes.Load(t)
	if !ok {
		codes, _ = a.codes.LoadOrStore(t, protocol.CodesOf(t))
	}
	codes.(*protocol.Codes).Each(reflect.ValueOf(resp).Elem(), func(code int64) {
		c := errors.Code(code)
		o.denied = o.denied || denials[c]
		if c != errors.None && len(o.errors) < maxAuditErrors && !slices.Contains(o.errors, c) {
			o.errors = append(o.errors, c)
		}
	})
	return o
}

// denials are the errors that say that the principal may not.
var denials = map[errors.Code]bool{
	errors.TopicAuthorizationFailed: true, errors.GroupAuthorizationFailed: true, errors.ClusterAuthorizationFailed: true,
	errors.TransactionalIDAuthorizationFailed: true, errors.DelegationTokenAuthorizationFailed: true, errors.DelegationTokenOwnerMismatch: true,
}

// String is ok, denied (in part at least) or failed (likewise).
func (o *outcome) String() string {
	switch {
	case o.denied:
		return "denied"
	case len(o.errors) > 0:
		return "failed"
	}
	return "ok"
}

func (o *outcome) codes() string {
	names := make([]string, len(o.errors))
	for i, c := range o.errors {
		names[i] = c.String()
	}
	return strings.Join(names, ",")
}

// maxAuditNames is how many resources a line names: with names of at most
// maxLoggedName bytes it stays below 8 KiB, escapes included.
const maxAuditNames = 10

// names are the resources of a request, as type:name.
type names struct {
	first []string
	count int
}

func (n *names) add(kind, name string) {
	if n.count++; n.count <= maxAuditNames {
		n.first = append(n.first, kind+":"+shortened(name))
	}
}

// String has the first names, and how many more there are.
func (n *names) String() string {
	text := strings.Join(n.first, ",")
	if more := n.count - len(n.first); more > 0 {
		text += " and " + strconv.Itoa(more) + " more"
	}
	return text
}
