package admin

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"kvorum/internal/clock"
	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/migration/mirror"
	"kvorum/migration/zk"
	"kvorum/migration/znode"
)

// verifyTries is how often Verify looks at a ZooKeeper that is being written.
const verifyTries = 5

// errMoved is in the chain when ZooKeeper was written to while it was read.
var errMoved = errors.New("ZooKeeper was written to while it was read")

// Verify compares what ZooKeeper holds with the metadata log, at the offset that
// ZooKeeper's /migration names; it changes nothing. path is what OpenMetadata takes; ""
// is for the log of the running controllers that m names.
//
// A ZooKeeper has no snapshot: if the metadata changed while it was read, or differs from
// running controllers', it is read again, some times, and the error or the differences are
// those of the last look.
func (m *Migration) Verify(ctx context.Context, path string) (*mirror.Comparison, error) {
	if path != "" { // what cannot be opened is said before anything is read
		metadata, err := OpenMetadata(path)
		if err != nil {
			return nil, err
		}
		_ = metadata.Close() // only read
	}
	z, err := m.openZooKeeper(ctx)
	if err != nil {
		return nil, err
	}
	defer z.Close()
	for try := 1; ; try++ {
		c, err := m.compare(ctx, z, path)
		again := errors.Is(err, errMoved) || err == nil && path == "" && !c.Equal()
		if !again || try == verifyTries || !clock.Rest(ctx, verifyPause) {
			return c, err
		}
	}
}

// verifyPause lets controllers end what they write.
const verifyPause = 300 * time.Millisecond

// compare is one look of Verify.
func (m *Migration) compare(ctx context.Context, z *zk.Client, path string) (*mirror.Comparison, error) {
	before, err := mirroredOffset(ctx, z)
	if err != nil {
		return nil, err
	}
	tree, err := z.Read(ctx, m.Progress)
	if err != nil {
		return nil, err
	}
	at, err := mirroredOffset(ctx, z)
	if err != nil {
		return nil, err
	}
	if path == "" {
		if path, err = os.MkdirTemp("", "kvorum-verify-"); err != nil {
			return nil, err
		}
		defer os.RemoveAll(path)
		if err := FetchMetadata(ctx, m.Controllers, m.Timeout, path); err != nil {
			return nil, err
		}
	}
	metadata, err := OpenMetadata(path)
	if err != nil {
		return nil, err
	}
	defer metadata.Close() // only read
	im, err := imageAt(metadata, at)
	if err != nil {
		return nil, err
	}
	if before != at { // controllers write down that nothing happened, too
		was, err := imageAt(metadata, before)
		if err != nil {
			return nil, err
		}
		if !was.Equal(im) {
			return nil, fmt.Errorf("%w: /migration has moved from offset %d to %d: try again, or while the controllers are stopped", errMoved, before, at)
		}
	}
	c := mirror.Compare(tree, im, m.PasswordSecret)
	return &c, nil
}

// imageAt is the state at an offset that ZooKeeper names.
func imageAt(metadata *Metadata, at kafka.Offset) (*image.Image, error) {
	state, err := metadata.StateAt(at)
	if err != nil {
		return nil, err
	}
	switch has := state.Image.At().Offset; {
	case has < at:
		return nil, fmt.Errorf("ZooKeeper holds the metadata up to offset %d, and %s ends at offset %d: it is of a controller that was behind, or that was killed before it had written the end down; "+
			"name the directory of the one that was active, start it once and stop it, or ask the running controllers with --bootstrap-controller", at, metadata.Path, has)
	case has > at:
		return nil, fmt.Errorf("ZooKeeper holds the metadata up to offset %d, and %s gives the state at offset %d: name the directory of a controller that has both, or a checkpoint that ends there", at, metadata.Path, has)
	}
	return state.Image, nil
}

// mirroredOffset is up to where ZooKeeper holds the metadata log.
func mirroredOffset(ctx context.Context, z *zk.Client) (kafka.Offset, error) {
	n, ok, err := z.Get(ctx, znode.MigrationPath)
	if err != nil {
		return 0, err
	}
	if !ok {
		return 0, errors.New("ZooKeeper has no /migration: no controller has begun a migration, or it was rolled back")
	}
	v, err := znode.DecodeMigration(n.Data)
	switch {
	case err != nil:
		return 0, fmt.Errorf("%s: %w", znode.MigrationPath, err)
	case v.Offset < 0:
		return 0, errors.New("the metadata has not been copied yet: ZooKeeper's /migration names no offset")
	}
	return v.Offset, nil
}
