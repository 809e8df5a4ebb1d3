package admin

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/clock"
	"kvorum/internal/kafka"
	"kvorum/protocol/batch"
	wire "kvorum/protocol/errors"
	"kvorum/snapshot"
)

// FetchMetadata copies the committed metadata log of running controllers, of kvorum's or
// Apache's make, into an empty directory, which OpenMetadata reads: the newest snapshot
// and everything after it, up to the end of the log at some time after the call. It
// fetches as an observer without an id, which changes nothing. bootstrap are controllers,
// HOST:PORT by commas; timeout bounds each request, and the search for the active one.
func FetchMetadata(ctx context.Context, bootstrap string, timeout time.Duration, dir string) error {
	f := &metadataFetch{addresses: strings.Split(bootstrap, ","), timeout: timeout, dir: dir, target: kafka.NoOffset}
	for {
		done, err := f.step(ctx)
		if err != nil || done {
			return err
		}
	}
}

// metadataFetch is one FetchMetadata.
type metadataFetch struct {
	addresses []string
	next      int // of them, that is asked
	timeout   time.Duration
	dir       string
	epoch     kafka.LeaderEpoch // of the leader, as far as known
	failing   time.Time         // since when nobody serves the log, zero if somebody does

	end    kafka.EpochOffset // of what is copied
	log    string            // the file of it
	target kafka.Offset      // the high watermark of the first answer
}

const (
	fetchedBytes = 4 << 20 // one answer; a controller may send less
	// fetchPause is between two controllers that do not serve the log.
	fetchPause = 100 * time.Millisecond
	// maxSnapshotBytes bounds what is copied of one snapshot: a million partitions have
	// a tenth of it.
	maxSnapshotBytes = 4 << 30
)

// step is one Fetch and what it asks for.
func (f *metadataFetch) step(ctx context.Context) (done bool, err error) {
	address := f.addresses[f.next%len(f.addresses)]
	resp, err := ask[*kmsg.FetchResponse](ctx, address, f.timeout, f.request())
	if err == nil {
		err = wire.Code(resp.ErrorCode).Err()
	}
	if err == nil && (len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1) {
		err = errors.New("the answer has not the one partition that was asked for")
	}
	if err != nil {
		return false, f.another(ctx, fmt.Errorf("fetch the metadata log from %s: %w", address, err))
	}
	part := &resp.Topics[0].Partitions[0]
	if told := kafka.LeaderEpoch(part.CurrentLeader.LeaderEpoch); told > f.epoch {
		f.epoch = told
		return false, nil // ask for what it leads by
	}
	err = wire.Code(part.ErrorCode).Err()
	if err == nil && part.HighWatermark < 0 {
		// Apache's LeaderState, until a majority has fetched from a new leader. That is not
		// an empty log: who took it for one would say that everything is missing.
		err = errors.New("it was elected just now, and does not know yet what is committed")
	}
	if err != nil {
		return false, f.another(ctx, fmt.Errorf("fetch the metadata log from %s: %w", address, err))
	}
	f.failing = time.Time{}
	switch {
	case part.SnapshotID.Epoch >= 0 && part.SnapshotID.EndOffset >= 0:
		return false, f.snapshot(ctx, address, kafka.EpochOffset{Offset: kafka.Offset(part.SnapshotID.EndOffset), Epoch: kafka.LeaderEpoch(part.SnapshotID.Epoch)})
	case part.DivergingEpoch.Epoch >= 0:
		return false, fmt.Errorf("fetch the metadata log from %s: it has no offset %d of epoch %d any more, which was committed", address, f.end.Offset, f.end.Epoch)
	}
	return f.keep(part)
}

// another goes on to the next controller, for as long as the timeout.
func (f *metadataFetch) another(ctx context.Context, err error) error {
	f.next++
	if f.failing.IsZero() {
		f.failing = time.Now()
	}
	if time.Since(f.failing) > f.timeout || !clock.Rest(ctx, fetchPause) {
		return err
	}
	return nil
}

func (f *metadataFetch) request() *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.ReplicaID, req.ReplicaState.ID, req.ReplicaState.Epoch = -1, -1, -1
	req.MaxWaitMillis, req.MaxBytes, req.SessionEpoch = 0, fetchedBytes, -1
	part := kmsg.NewFetchRequestTopicPartition()
	part.CurrentLeaderEpoch, part.FetchOffset, part.LastFetchedEpoch = int32(f.epoch), int64(f.end.Offset), int32(f.end.Epoch)
	part.LogStartOffset, part.PartitionMaxBytes = -1, fetchedBytes
	topic := kmsg.NewFetchRequestTopic()
	topic.Topic, topic.TopicID = kafka.MetadataTopic, kafka.MetadataTopicID
	topic.Partitions = append(topic.Partitions, part)
	req.Topics = append(req.Topics, topic)
	return req
}

// keep appends what is committed of an answer.
func (f *metadataFetch) keep(part *kmsg.FetchResponseTopicPartition) (done bool, err error) {
	high := kafka.Offset(part.HighWatermark)
	if f.target == kafka.NoOffset {
		f.target = high
	}
	n := 0
	for rest := part.RecordBatches; len(rest) > 0; {
		v, after, err := batch.Next(rest)
		if err != nil || v.EndOffset() > high {
			break // cut off at the end of the answer, or not committed yet
		}
		if err := v.CheckCRC(); err != nil || v.BaseOffset() != f.end.Offset {
			return false, fmt.Errorf("fetch the metadata log: a batch at offset %d, after offset %d: %w", v.BaseOffset(), f.end.Offset, errors.Join(err, errors.New("it is damaged or does not follow")))
		}
		f.end = kafka.EpochOffset{Offset: v.EndOffset(), Epoch: v.Epoch()}
		n += v.Size()
		rest = after
	}
	if err := f.write(part.RecordBatches[:n]); err != nil {
		return false, err
	}
	return f.end.Offset >= f.target, nil
}

// write appends to the log. It is not fsynced: the copy is of use to this process only.
func (f *metadataFetch) write(data []byte) error {
	if len(data) == 0 {
		return nil
	}
	if f.log == "" {
		first, _, err := batch.Next(data)
		if err != nil {
			return err
		}
		f.log = filepath.Join(f.dir, fmt.Sprintf("%020d.log", first.BaseOffset()))
	}
	return appendFile(f.log, data)
}

func appendFile(path string, data []byte) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	return errors.Join(err, file.Close())
}

// snapshot copies a snapshot, with which the log goes on.
func (f *metadataFetch) snapshot(ctx context.Context, address string, id kafka.EpochOffset) error {
	path := filepath.Join(f.dir, snapshot.Name(id))
	if id.Offset <= f.end.Offset || f.log != "" {
		return fmt.Errorf("fetch the metadata log from %s: it begins a snapshot of offset %d after offset %d was fetched: try again", address, id.Offset, f.end.Offset)
	}
	for position, size := int64(0), int64(1); position < size; {
		piece, err := f.piece(ctx, address, id, position)
		if err != nil {
			return fmt.Errorf("fetch the snapshot of offset %d from %s: %w", id.Offset, address, err)
		}
		if size = piece.Size; size > maxSnapshotBytes {
			return fmt.Errorf("the snapshot of offset %d of %s has %d bytes, more than %d", id.Offset, address, size, int64(maxSnapshotBytes))
		}
		if err := appendFile(path, piece.Bytes); err != nil {
			return err
		}
		position += int64(len(piece.Bytes))
	}
	f.end = id
	return nil
}

// piece is a part of a snapshot; it is not empty.
func (f *metadataFetch) piece(ctx context.Context, address string, id kafka.EpochOffset, position int64) (*kmsg.FetchSnapshotResponseTopicPartition, error) {
	req := kmsg.NewPtrFetchSnapshotRequest()
	req.ReplicaID, req.MaxBytes = -1, fetchedBytes
	part := kmsg.NewFetchSnapshotRequestTopicPartition()
	part.CurrentLeaderEpoch, part.Position = int32(f.epoch), position
	part.SnapshotID.EndOffset, part.SnapshotID.Epoch = int64(id.Offset), int32(id.Epoch)
	topic := kmsg.NewFetchSnapshotRequestTopic()
	topic.Topic = kafka.MetadataTopic
	topic.Partitions = append(topic.Partitions, part)
	req.Topics = append(req.Topics, topic)
	resp, err := ask[*kmsg.FetchSnapshotResponse](ctx, address, f.timeout, req)
	if err == nil {
		err = wire.Code(resp.ErrorCode).Err()
	}
	if err != nil {
		return nil, err
	}
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return nil, errors.New("the answer has not the one partition that was asked for")
	}
	answer := &resp.Topics[0].Partitions[0]
	if err := wire.Code(answer.ErrorCode).Err(); err != nil {
		return nil, err
	}
	if answer.Position != position || len(answer.Bytes) == 0 {
		return nil, fmt.Errorf("%d bytes at position %d came, asked for was position %d", len(answer.Bytes), answer.Position, position)
	}
	return answer, nil
}
