package admin

import (
	"context"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/migration/kraft"
)

// KRaft is a cluster whose controllers, Apache's or kvorum's, hold their metadata in a
// log of their own.
type KRaft struct {
	// Controllers are running controllers, HOST:PORT by commas.
	Controllers string
	// Bootstrap are brokers to ask, HOST:PORT by commas; "" asks those with a PLAINTEXT
	// listener that the metadata names.
	Bootstrap string
	// Timeout bounds each request.
	Timeout time.Duration
}

// Plan reads the running controllers' metadata and asks the brokers, changes nothing, and
// says what a move to kvorum's controllers will do and what stands in its way. What a
// broker does not answer is a finding of the plan.
func (k *KRaft) Plan(ctx context.Context) (*kraft.Plan, error) {
	quorum, err := Quorum(ctx, k.Controllers, k.Timeout)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	state, err := k.state(ctx)
	if err != nil {
		return nil, err
	}
	f := &kraft.Facts{ClusterID: quorum.ClusterID, Image: state.Image, KRaftVersion: state.KRaftVersion, ReadTime: time.Since(began)}
	for _, v := range quorum.Voters {
		f.Controllers = append(f.Controllers, kraft.Controller{ID: v.ID, DirectoryID: v.DirectoryID, Address: v.Address})
	}
	var ids []kafka.BrokerID
	for b := range state.Image.Brokers() {
		ids = append(ids, b.ID)
	}
	f.Asked = askCluster(ctx, k.brokers(state.Image), ids, k.Timeout)
	return kraft.NewPlan(f), ctx.Err()
}

// Verify compares what a stopped controller's directory, or a .checkpoint, holds at its
// end with the metadata of the running controllers; it changes nothing.
func (k *KRaft) Verify(ctx context.Context, path string) (*kraft.Comparison, error) {
	metadata, err := OpenMetadata(path)
	if err != nil {
		return nil, err
	}
	defer metadata.Close() // only read
	before, err := metadata.StateAt(EndOfLog)
	if err != nil {
		return nil, err
	}
	now, err := k.state(ctx)
	if err != nil {
		return nil, err
	}
	c := kraft.Compare(before.Image, now.Image, secretConfig)
	return &c, nil
}

// state is the metadata of the running controllers, up to the end of what is committed.
func (k *KRaft) state(ctx context.Context) (*State, error) {
	dir, err := os.MkdirTemp("", "kvorum-metadata-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := FetchMetadata(ctx, k.Controllers, k.Timeout, dir); err != nil {
		return nil, err
	}
	metadata, err := OpenMetadata(dir)
	if err != nil {
		return nil, err
	}
	defer metadata.Close() // only read
	return metadata.StateAt(EndOfLog)
}

// plaintext is the number of Kafka's security protocol PLAINTEXT.
const plaintext = 0

// brokers are where to begin to ask.
func (k *KRaft) brokers(im *image.Image) []string {
	if k.Bootstrap != "" {
		return strings.Split(k.Bootstrap, ",")
	}
	var out []string
	for b := range im.Brokers() {
		for _, e := range b.Endpoints {
			if e.SecurityProtocol == plaintext {
				out = append(out, net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port))))
				break
			}
		}
	}
	return out
}
