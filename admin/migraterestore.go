package admin

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/nodedir"
	"kvorum/migration/mirror"
	"kvorum/migration/zk"
	"kvorum/migration/znode"
)

// ZooKeeperRestore is what it takes to bring ZooKeeper to what a metadata log says after
// the end of a migration.
type ZooKeeperRestore struct {
	// Offset is the end of the metadata log that ZooKeeper is brought to.
	Offset kafka.Offset `json:"offset"`
	// FromExport says that ZooKeeper had no cluster, and that its nodes are the export's.
	FromExport bool `json:"from_export"`
	// Changed is what the metadata log has changed since: what is written.
	Changed []mirror.Difference `json:"changed"`
	// Lost is what the metadata log holds and ZooKeeper, or a broker on it, has no place for.
	Lost []string `json:"lost"`
	// Created and Written are the nodes that were created from the export, and those that were
	// written since; 0 if nothing was to be carried out.
	Created int `json:"created"`
	Written int `json:"written"`
}

// restorer is the node that has claimed ZooKeeper while it is restored: nobody's.
const restorer kafka.NodeID = math.MaxInt32

// Restore brings ZooKeeper to the end of a metadata log whose migration is finalized, so
// that brokers can start in ZooKeeper mode again: from what ZooKeeper still holds, or from
// the export that finalize has kept, and what was changed since. path is the log directory
// of a controller that is stopped, the one that was active last; export may be "" if
// ZooKeeper still has the cluster. Without execute nothing is changed, and the result says
// what would be.
//
// Nobody may run meanwhile, neither controllers nor brokers: what they change is lost. A
// broker in ZooKeeper mode and a controller that is a broker are errors. It may be repeated
// after an error. What is written is durable on a majority of the ZooKeeper servers when it
// returns.
func (m *Migration) Restore(ctx context.Context, path, export string, execute bool) (*ZooKeeperRestore, error) {
	im, cluster, err := finalizedImage(path)
	if err != nil {
		return nil, err
	}
	z, err := m.openZooKeeper(ctx)
	if err != nil {
		return nil, err
	}
	defer z.Close()
	tree, err := z.Read(ctx, m.Progress)
	if err != nil {
		return nil, err
	}
	r := &ZooKeeperRestore{Offset: im.At().Offset}
	if znode.Decode(tree).ClusterID == "" {
		if tree, err = exportedTree(export, im); err != nil {
			return nil, err
		}
		r.FromExport = true
	} else if err := nobodyRuns(tree); err != nil {
		return nil, err
	}
	if has := znode.Decode(tree).ClusterID; cluster != "" && cluster != has {
		return nil, fmt.Errorf("ZooKeeper's cluster is %s, and the metadata log's is %s: correct --zookeeper or --metadata", has, cluster)
	}
	compared := mirror.Compare(tree, im, m.PasswordSecret)
	r.Changed, r.Lost = compared.Differences, append(compared.OnlyInLog, lost(im)...)
	if !execute {
		return r, nil
	}
	if r.FromExport {
		if r.Created, err = z.Fill(ctx, tree); err != nil {
			return nil, fmt.Errorf("restore ZooKeeper from %s: %w", export, err)
		}
	}
	r.Written, err = m.giveTo(ctx, z, tree, im)
	return r, err
}

// finalizedImage is the end of a metadata log of a finalized migration, and the id of the
// cluster whose it is; "" for a checkpoint, which does not say.
func finalizedImage(path string) (im *image.Image, cluster string, err error) {
	metadata, err := OpenMetadata(path)
	if err != nil {
		return nil, "", err
	}
	defer metadata.Close() // only read
	state, err := metadata.StateAt(EndOfLog)
	switch {
	case err != nil:
		return nil, "", err
	case state.Image.ZkMigrationState() != image.ZkPostMigration:
		return nil, "", fmt.Errorf("%s is not of a migration that was finalized: kvorum migrate rollback goes back before that, while the controllers run", path)
	case metadata.store == nil:
		return state.Image, "", nil
	}
	meta, err := nodedir.ReadMeta(filepath.Dir(metadata.Path))
	if err != nil {
		return nil, "", err
	}
	return state.Image, meta.ClusterID, nil
}

// exportedTree is what an export holds that is not of after the image.
func exportedTree(file string, im *image.Image) (*znode.Tree, error) {
	if file == "" {
		return nil, errors.New("ZooKeeper has no /cluster/id: name the file that finalize has kept with --export, or correct --zookeeper")
	}
	e, tree, err := ReadZooKeeperExport(file)
	if err != nil {
		return nil, err
	}
	if e.OffsetAfter > im.At().Offset {
		return nil, fmt.Errorf("%s is of offset %d, and the metadata log ends at %d: it is of another migration, or the log is of a controller that was behind", file, e.OffsetAfter, im.At().Offset)
	}
	return tree, nil
}

// nobodyRuns makes sure that no broker has ZooKeeper.
func nobodyRuns(tree *znode.Tree) error {
	for _, id := range tree.Children(znode.BrokerIDsPath) {
		if n, _ := tree.Get(znode.BrokerIDsPath + "/" + id); n.Ephemeral {
			return fmt.Errorf("broker %s runs in ZooKeeper mode: stop it, and wait until its session has ended (zookeeper.session.timeout.ms)", id)
		}
	}
	if c := znode.Decode(tree).Controller; c != nil && c.Value.KRaftEpoch < 0 {
		return fmt.Errorf("/controller is broker %d's: ZooKeeper is its brokers' already", c.Value.ID)
	}
	return nil
}

// lost is what every restore loses, and what of this metadata no broker of 3.9 knows.
func lost(im *image.Image) []string {
	out := []string{
		"the log directories of replicas: brokers find them where they are",
		"the registrations of brokers in KRaft mode, fenced or shut down in order: brokers register anew",
	}
	if im.MetadataVersion() > image.MV39IV0 {
		out = append(out, fmt.Sprintf("metadata.version %v: a broker of Kafka 3.9 in ZooKeeper mode knows nothing that came after 3.9, and may not start on what was written with it", im.MetadataVersion()))
	}
	return out
}

// giveTo claims ZooKeeper, writes what is different, and leaves it without a controller, at
// an epoch at which the brokers' own may elect.
func (m *Migration) giveTo(ctx context.Context, z *zk.Client, tree *znode.Tree, im *image.Image) (written int, err error) {
	epoch := im.At().Epoch + 1
	floor := epoch
	s := znode.Decode(tree)
	for i := range s.Topics {
		for _, state := range s.Topics[i].States {
			floor = max(floor, state.ControllerEpoch)
		}
	}
	fence, err := z.Claim(ctx, zk.Claim{ID: restorer, Epoch: epoch, NowMs: 0, Floor: floor, Over: true})
	if err != nil {
		return 0, err
	}
	report, err := mirror.New(mirror.Config{Client: z, Fence: fence, Secret: m.PasswordSecret}).Apply(ctx, im)
	if err != nil {
		return 0, err
	}
	return report.Writes, z.Release(ctx, fence, floor)
}
