package admin

import (
	"context"
	"errors"
	"fmt"

	"kvorum/internal/kafka"
	"kvorum/migration/mirror"
	"kvorum/migration/znode"
)

// Verify compares what ZooKeeper holds with a controller's metadata on disk, at the
// offset that ZooKeeper's /migration names; it changes nothing. path is what
// OpenMetadata takes. The answer is exact if nobody has written to ZooKeeper
// meanwhile: /migration is read again, and one that has moved is an error.
func (m *Migration) Verify(ctx context.Context, path string) (*mirror.Comparison, error) {
	metadata, err := OpenMetadata(path)
	if err != nil {
		return nil, err
	}
	defer metadata.Close() // only read
	z, err := m.openZooKeeper(ctx)
	if err != nil {
		return nil, err
	}
	defer z.Close()
	tree, err := z.Read(ctx, m.Progress)
	if err != nil {
		return nil, err
	}
	at, err := mirroredOffset(tree)
	if err != nil {
		return nil, err
	}
	if n, _, err := z.Get(ctx, znode.MigrationPath); err != nil {
		return nil, err
	} else if was, _ := tree.Get(znode.MigrationPath); n.Version != was.Version {
		return nil, fmt.Errorf("ZooKeeper was written to while it was read (/migration has moved from offset %d): try again, or while the controllers are stopped", at)
	}
	state, err := metadata.StateAt(at)
	if err != nil {
		return nil, err
	}
	if has := state.Image.At().Offset; has != at {
		return nil, fmt.Errorf("ZooKeeper holds the metadata up to offset %d, and %s gives the state at offset %d: name the directory of a controller that has both, or a checkpoint that ends there", at, path, has)
	}
	c := mirror.Compare(tree, state.Image, m.PasswordSecret)
	return &c, nil
}

// mirroredOffset is up to where ZooKeeper holds the metadata log.
func mirroredOffset(tree *znode.Tree) (kafka.Offset, error) {
	n, ok := tree.Get(znode.MigrationPath)
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
