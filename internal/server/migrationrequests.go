package server

import (
	"context"
	"encoding/json"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/migration/progress"
	"kvorum/migration/run"
	"kvorum/protocol"
	"kvorum/protocol/errors"
	"kvorum/quorum"
)

// migrationAnswers answers the requests about a migration; r is nil on a controller
// that runs none.
func migrationAnswers(node kafka.NodeID, r *run.Runner) map[protocol.Key]quorum.OwnAnswer {
	return map[protocol.Key]quorum.OwnAnswer{
		protocol.KeyDescribeMigration: func(_ context.Context, req *protocol.Request) kmsg.Response {
			if r == nil {
				return protocol.Failure(req, errNoMigration)
			}
			return describeMigration(progressOf(node, r), req)
		},
		protocol.KeyAlterMigration: func(ctx context.Context, req *protocol.Request) kmsg.Response {
			if r == nil {
				return protocol.Failure(req, errNoMigration)
			}
			if err := alterMigration(ctx, r, req.Body.(*protocol.AlterMigrationRequest)); err != nil {
				return protocol.Failure(req, err)
			}
			return req.Response()
		},
	}
}

var errNoMigration = errors.New(errors.InvalidRequest, "this controller takes no part in a migration from ZooKeeper: zookeeper.metadata.migration.enable is not set")

func describeMigration(p progress.Progress, req *protocol.Request) kmsg.Response {
	text, err := json.Marshal(p)
	if err != nil {
		panic("server: " + err.Error()) // strings, numbers and slices of them
	}
	resp := req.Response().(*protocol.DescribeMigrationResponse)
	resp.Progress = text
	return resp
}

// progressOf is a runner's status for people.
func progressOf(node kafka.NodeID, r *run.Runner) progress.Progress {
	s := r.Status()
	p := progress.Progress{
		ZooKeeper: r.ZooKeeper(), ClusterID: r.ClusterID(), Node: node, Active: s.Leads, State: s.State.String(), Log: progress.LogName(s.LogState), Reason: s.Reason, Error: s.Err, Action: s.Action,
		NodesRead: s.Read, Offset: s.Offset, Written: s.Written, Lag: s.Lag, ControllerEpoch: s.ControllerEpoch,
		AwaitedControllers: s.Controllers, AwaitedBrokers: s.Brokers, ZooKeeperMode: s.ZooKeeperMode, KRaftMode: s.KRaftMode,
	}
	if !s.Since.IsZero() && s.Action != "" {
		p.SinceMs = s.Since.UnixMilli()
	}
	for _, b := range s.Told {
		told := progress.Told{Broker: b.Broker, Address: b.Address, Offset: b.Told, Lag: b.Lag}
		if b.Err != nil {
			told.Error = b.Err.Error()
		}
		p.Told = append(p.Told, told)
	}
	return p
}

// longestAlteration bounds how long a client may wait for its answer. What has begun
// goes on after it.
const longestAlteration = 10 * time.Minute

func alterMigration(ctx context.Context, r *run.Runner, req *protocol.AlterMigrationRequest) *errors.Error {
	asked := r.Status()
	if !asked.Leads {
		return errors.New(errors.NotController, "this controller is not the active one")
	}
	ctx, cancel := context.WithTimeout(ctx, min(max(0, time.Duration(req.TimeoutMillis)*time.Millisecond), longestAlteration))
	defer cancel()
	var err error
	switch req.Action {
	case protocol.ResumeMigration:
		r.Resume()
	case protocol.StartMigration:
		err = r.Start(ctx)
	case protocol.FinalizeMigration:
		err = r.Finalize(ctx)
	case protocol.RollBackMigration:
		err = r.RollBack(ctx)
	default:
		return errors.New(errors.InvalidRequest, "a migration has no action %d", req.Action)
	}
	switch now := r.Status(); {
	case err == nil:
		return nil
	case !now.Leads || now.Epoch != asked.Epoch:
		return errors.New(errors.NotController, "%v", err)
	case ctx.Err() != nil:
		return errors.New(errors.RequestTimedOut, "%v: it goes on; ask for the status", err)
	}
	return errors.New(errors.PolicyViolation, "%v", err)
}
