package admin

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/listener"
	"kvorum/protocol"
	"kvorum/protocol/batch"
)

// newLeader serves a log of Apache's at a controller's listener. Its first answers are
// those of a leader that no majority has fetched from yet, with the records and without a
// high watermark, as Apache's LeaderState gives them.
func newLeader(t *testing.T, log []byte, unknown int) (address string) {
	t.Helper()
	var end int64 // of the log, all of which is committed
	for rest := log; len(rest) > 0; {
		v, after, err := batch.Next(rest)
		if err != nil {
			t.Fatal(err)
		}
		end, rest = int64(v.EndOffset()), after
	}
	h := protocol.NewHandlers[listener.Handler](protocol.Controller)
	h.Bind(protocol.Key(kmsg.Fetch), func(_ context.Context, r *listener.Request) (listener.Response, error) {
		asked := r.Body.(*kmsg.FetchRequest).Topics[0]
		part := kmsg.NewFetchResponseTopicPartition()
		part.HighWatermark = -1
		if asked.Partitions[0].FetchOffset == 0 {
			part.RecordBatches = log
		}
		if unknown--; unknown < 0 {
			part.HighWatermark = end
		}
		topic := kmsg.NewFetchResponseTopic()
		topic.Topic, topic.TopicID, topic.Partitions = asked.Topic, asked.TopicID, []kmsg.FetchResponseTopicPartition{part}
		resp := kmsg.NewPtrFetchResponse()
		resp.Topics = append(resp.Topics, topic)
		return listener.Reply(resp), nil
	})
	l, err := listener.New(t.Context(), listener.Config{Name: "CONTROLLER", Addr: "127.0.0.1:0", Handlers: h, Budget: listener.NewBudget(listener.DefaultBudget), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	l.Serve(context.WithoutCancel(t.Context()))
	t.Cleanup(func() {
		if err := l.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// A leader that was elected just now does not say what is committed: its log is not
// empty, and is asked for again.
func TestFetchFromANewLeader(t *testing.T) {
	log, err := os.ReadFile(filepath.Join(goldenLogs, "4.3.1-main", "00000000000000000000.log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Run("that learns it", func(t *testing.T) {
		dir := t.TempDir()
		if err := FetchMetadata(t.Context(), newLeader(t, log, 2), 10*time.Second, dir); err != nil {
			t.Fatal(err)
		}
		copied, err := os.ReadFile(filepath.Join(dir, "00000000000000000000.log"))
		if err != nil || !bytes.Equal(copied, log) {
			t.Errorf("%d bytes of %d are copied: %v", len(copied), len(log), err)
		}
	})
	t.Run("that does not", func(t *testing.T) {
		err := FetchMetadata(t.Context(), newLeader(t, log, 1<<30), 300*time.Millisecond, t.TempDir())
		if err == nil || !strings.Contains(err.Error(), "does not know yet what is committed") {
			t.Fatal(err)
		}
	})
}
