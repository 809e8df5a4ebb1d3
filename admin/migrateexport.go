package admin

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"

	"kvorum/internal/kafka"
	"kvorum/migration/export"
	"kvorum/migration/znode"
)

// Export writes every node that Kafka keeps in ZooKeeper to a file, which must not exist:
// it holds secrets, and only its owner may read it. It is fsynced when Export returns; after
// an error there is no file. Nothing in ZooKeeper is changed.
func (m *Migration) Export(ctx context.Context, file string) (_ *export.Export, err error) {
	z, err := m.openZooKeeper(ctx)
	if err != nil {
		return nil, err
	}
	defer z.Close()
	offset := func() (kafka.Offset, error) {
		n, ok, err := z.Get(ctx, znode.MigrationPath)
		if err != nil || !ok {
			return kafka.NoOffset, err
		}
		v, err := znode.DecodeMigration(n.Data)
		if err != nil {
			return kafka.NoOffset, nil // it is in the export as it is
		}
		return v.Offset, nil
	}
	e := &export.Export{File: file}
	if e.Offset, err = offset(); err != nil {
		return nil, err
	}
	tree, err := z.Read(ctx, m.Progress)
	if err != nil {
		return nil, err
	}
	if e.OffsetAfter, err = offset(); err != nil {
		return nil, err
	}
	e.ClusterID = znode.Decode(tree).ClusterID
	out, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("%s is there already: name another file, or move it away", file)
	}
	if err != nil {
		return nil, err
	}
	w := bufio.NewWriterSize(out, 1<<20)
	if err = errors.Join(e.Write(w, tree), w.Flush(), out.Sync(), out.Close()); err != nil {
		return nil, errors.Join(fmt.Errorf("export ZooKeeper to %s: %w", file, err), os.Remove(file))
	}
	return e, nil
}

// ReadZooKeeperExport reads a file that Export has written, all of it into memory. A file that was
// cut off or changed is an error that names the line.
func ReadZooKeeperExport(file string) (*export.Export, *znode.Tree, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close() // only read
	e, tree, err := export.Read(f)
	if err != nil {
		return nil, nil, fmt.Errorf("the export %s: %w", file, err)
	}
	e.File = file
	return e, tree, nil
}
