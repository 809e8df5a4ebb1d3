package admin

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/migration"
	"kvorum/migration/convert"
	"kvorum/migration/zk"
	"kvorum/migration/znode"
)

// Migration is a cluster on ZooKeeper that shall leave it.
type Migration struct {
	// ZooKeeper is the brokers' zookeeper.connect, with the chroot if there is one.
	ZooKeeper string
	// TLS and Digest are how this machine talks to ZooKeeper: see zk.Config.
	TLS    *tls.Config
	Digest string
	// Bootstrap are brokers to ask, HOST:PORT by commas; "" asks those that
	// ZooKeeper names.
	Bootstrap string
	// Controllers are the controllers that shall take over, HOST:PORT by commas; ""
	// leaves out what only they can tell.
	Controllers string
	// PasswordSecret is the brokers' password.encoder.secret, "" for none.
	PasswordSecret string
	// Timeout bounds the connection to ZooKeeper and each request to a broker.
	Timeout time.Duration
	// Progress, if not nil, is told how many nodes of ZooKeeper have been read.
	Progress func(nodes int)
}

// Plan reads ZooKeeper and asks the brokers, changes nothing, and says what a
// migration will do and what stands in its way. What a broker or controller does
// not answer is a finding of the plan; the error is for a ZooKeeper that cannot be
// read.
func (m *Migration) Plan(ctx context.Context) (*migration.Plan, error) {
	f := &migration.Facts{Connect: m.ZooKeeper, Secret: m.PasswordSecret != ""}
	if err := m.readZooKeeper(ctx, f); err != nil {
		return nil, err
	}
	m.askBrokers(ctx, f)
	m.convert(f)
	if m.Controllers != "" {
		f.Controllers = m.askControllers(ctx)
	}
	return migration.NewPlan(f), ctx.Err()
}

func (m *Migration) openZooKeeper(ctx context.Context) (*zk.Client, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, m.Timeout, fmt.Errorf("nobody answered within %v", m.Timeout))
	defer cancel()
	return zk.Open(ctx, zk.Config{Connect: m.ZooKeeper, TLS: m.TLS, Digest: m.Digest})
}

func (m *Migration) readZooKeeper(ctx context.Context, f *migration.Facts) error {
	z, err := m.openZooKeeper(ctx)
	if err != nil {
		return err
	}
	defer z.Close()
	start := time.Now()
	tree, err := z.Read(ctx, m.Progress)
	if err != nil {
		return err
	}
	f.ReadTime, f.Nodes, f.Snapshot = time.Since(start), tree.Len(), znode.Decode(tree)
	return nil
}

// convert makes the records of the copy, and keeps only what they tell.
func (m *Migration) convert(f *migration.Facts) {
	mv, ok := migration.MetadataVersion(f.Brokers)
	if !ok {
		mv = image.MV39IV0 // the protocol is a finding of its own
	}
	records, problems := convert.Records(f.Snapshot, convert.Options{MetadataVersion: mv, Secret: m.PasswordSecret, NewID: randomID})
	f.Records, f.Conversion = len(records), problems
}

func randomID() kafka.UUID {
	id, err := kafka.RandomUUID(rand.Reader)
	if err != nil {
		panic(err) // crypto/rand does not fail
	}
	return id
}

// askBrokers asks every broker that ZooKeeper has for its configuration, and the
// transaction coordinators for their transactions.
func (m *Migration) askBrokers(ctx context.Context, f *migration.Facts) {
	var ids []kafka.BrokerID
	for _, b := range f.Snapshot.Brokers {
		ids = append(ids, b.ID)
	}
	f.Asked = askCluster(ctx, brokerAddresses(f.Snapshot, m.Bootstrap), ids, m.Timeout)
}

// askCluster asks brokers for what is not in their metadata; what they do not answer is
// said in its place. timeout bounds each request, and three times as long all of them.
func askCluster(ctx context.Context, seeds []string, ids []kafka.BrokerID, timeout time.Duration) migration.Asked {
	fail := func(err error) (a migration.Asked) {
		for _, id := range ids {
			a.Brokers = append(a.Brokers, migration.BrokerFacts{ID: id, Err: err})
		}
		return a
	}
	if len(seeds) == 0 {
		return fail(errors.New("no broker has a PLAINTEXT listener"))
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(seeds...), kgo.RequestTimeoutOverhead(timeout), kgo.RetryTimeout(timeout), kgo.DialTimeout(timeout))
	if err != nil {
		return fail(err)
	}
	defer client.Close()
	asked, cancel := context.WithTimeout(ctx, 3*timeout)
	defer cancel()
	adm := kadm.NewClient(client)
	versions, versionsErr := adm.ApiVersions(asked)
	var a migration.Asked
	for _, id := range ids {
		facts := askBroker(asked, adm, id)
		if v, ok := versions[int32(id)]; ok && versionsErr == nil {
			facts.Version = v.VersionGuess()
		}
		a.Brokers = append(a.Brokers, facts)
	}
	a.Transactions = askTransactions(asked, adm)
	a.Groups = askGroups(asked, client)
	a.Formats = askFormats(asked, client)
	return a
}

// brokerAddresses are where to begin.
func brokerAddresses(s *znode.Snapshot, bootstrap string) []string {
	if bootstrap != "" {
		return strings.Split(bootstrap, ",")
	}
	var out []string
	for _, b := range s.Brokers {
		if i := slices.IndexFunc(b.Endpoints, func(e znode.Endpoint) bool { return e.Protocol == "PLAINTEXT" }); i >= 0 {
			out = append(out, net.JoinHostPort(b.Endpoints[i].Host, strconv.Itoa(int(b.Endpoints[i].Port))))
		}
	}
	return out
}

func askBroker(ctx context.Context, adm *kadm.Client, id kafka.BrokerID) migration.BrokerFacts {
	f := migration.BrokerFacts{ID: id, Configs: map[string]string{}, Static: map[string]string{}}
	all, err := adm.DescribeBrokerConfigs(ctx, int32(id))
	if err != nil {
		f.Err = err
		return f
	}
	for _, r := range all {
		if r.Err != nil {
			f.Err = r.Err
			return f
		}
		for _, c := range r.Configs {
			f.Configs[c.Key] = c.MaybeValue()
			static := c.Source == kmsg.ConfigSourceStaticBrokerConfig
			for _, s := range c.Synonyms {
				static = static || s.Source == kmsg.ConfigSourceStaticBrokerConfig
			}
			if static {
				f.Static[c.Key] = c.MaybeValue()
			}
		}
	}
	return f
}

func askTransactions(ctx context.Context, adm *kadm.Client) migration.TransactionFacts {
	list, err := adm.ListTransactions(ctx, nil, nil)
	f := migration.TransactionFacts{Total: len(list), Err: err}
	for _, t := range list {
		switch t.State {
		case "Ongoing", "PrepareCommit", "PrepareAbort":
			f.Ongoing++
		}
	}
	return f
}

func (m *Migration) askControllers(ctx context.Context) *migration.ControllerFacts {
	status, err := Quorum(ctx, m.Controllers, m.Timeout)
	if err != nil {
		return &migration.ControllerFacts{Err: err}
	}
	return &migration.ControllerFacts{ClusterID: status.ClusterID, Active: status.Leader, Voters: len(status.Voters)}
}
