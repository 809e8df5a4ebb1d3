package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/clock"
	"kvorum/migration/progress"
	"kvorum/protocol"
	wire "kvorum/protocol/errors"
)

// maxMigrationAnswer bounds an answer: some 200 bytes for each broker.
const maxMigrationAnswer = 16 << 20

// MigrationProgress asks the controllers at bootstrap (HOST:PORT, separated by commas)
// where a migration from ZooKeeper stands. It returns what the active one says, or, if
// none that can be reached is active, what the first says; address is whose it is.
func MigrationProgress(ctx context.Context, bootstrap string, timeout time.Duration) (p *progress.Progress, address string, err error) {
	var problems []error
	for _, at := range strings.Split(bootstrap, ",") {
		resp := &protocol.DescribeMigrationResponse{}
		err := askOwn(ctx, at, timeout, &protocol.DescribeMigrationRequest{}, resp)
		if err == nil {
			err = failureOf(resp.ErrorCode, resp.ErrorMessage)
		}
		var found progress.Progress
		if err == nil {
			err = json.Unmarshal(resp.Progress, &found)
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", at, err))
			continue
		}
		if p == nil || found.Active {
			p, address = &found, at
		}
		if found.Active {
			break
		}
	}
	if p == nil {
		return nil, "", fmt.Errorf("no controller says where the migration stands: %w", errors.Join(problems...))
	}
	return p, address, nil
}

// AlterMigration asks the active one of the controllers at bootstrap to do something
// with the migration, and waits until it is done. When another one becomes active
// meanwhile, that one is asked, until the timeout: what was done already is done.
func AlterMigration(ctx context.Context, bootstrap string, action protocol.MigrationAction, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout+answerSlack)
	defer cancel()
	for deadline := time.Now().Add(timeout); ; {
		left := time.Until(deadline)
		again, err := alterMigration(ctx, bootstrap, action, max(left, time.Second))
		if !again || left <= 0 || !clock.Rest(ctx, alterPause) {
			return err
		}
	}
}

// alterPause is between two controllers that are asked; an election takes longer.
const alterPause = 200 * time.Millisecond

// alterMigration asks once; again says that another controller may do it.
func alterMigration(ctx context.Context, bootstrap string, action protocol.MigrationAction, timeout time.Duration) (again bool, err error) {
	p, address, err := MigrationProgress(ctx, bootstrap, timeout)
	if err != nil {
		return false, err
	}
	if !p.Active {
		return true, errors.New("none of the controllers that can be reached is the active one: name all of them")
	}
	resp := &protocol.AlterMigrationResponse{}
	req := &protocol.AlterMigrationRequest{Action: action, TimeoutMillis: int32(timeout.Milliseconds())}
	if err := askOwn(ctx, address, timeout+answerSlack, req, resp); err != nil {
		return true, fmt.Errorf("controller %d: %w", p.Node, err)
	}
	return wire.Code(resp.ErrorCode) == wire.NotController, failureOf(resp.ErrorCode, resp.ErrorMessage)
}

// answerSlack is what an answer may take beyond what it was given.
const answerSlack = 2 * time.Second

func failureOf(code int16, message *string) error {
	err := wire.Code(code).Err()
	if err != nil && message != nil {
		return errors.New(*message)
	}
	return err
}

// askOwn sends one of kvorum's own requests, which no client library knows.
func askOwn(ctx context.Context, address string, timeout time.Duration, req kmsg.Request, resp kmsg.Response) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })() // ends what waits
	client := clientID
	const correlation = 1
	if _, err := conn.Write(protocol.AppendRequest(nil, correlation, &client, req)); err != nil {
		return err
	}
	_, err = protocol.ReadAnswer(conn, maxMigrationAnswer, nil, correlation, resp)
	if ctx.Err() != nil {
		return fmt.Errorf("no answer within %v", timeout)
	}
	return err
}
