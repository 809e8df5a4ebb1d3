package admin

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"kvorum/config"
	"kvorum/internal/kafka"
	"kvorum/metadatalog"
	"kvorum/metadatalog/nodedir"
	"kvorum/metadatalog/record"
	"kvorum/migration/kraft"
	"kvorum/protocol/batch"
)

// Import formats one controller with the metadata of an Apache Kafka quorum that
// is stopped: what `kvorum storage format --import` does. Every controller runs
// it with the same sources, or copies of them, and comes to the same log; raft
// compares the logs before the quorum starts. The sources are only read.
type Import struct {
	// Sources are the log directories (metadata.log.dir) of a majority of the old
	// controllers.
	Sources []string
	// ClusterID, if given, is what the sources must belong to.
	ClusterID string
	// NodeID, LogDirs and MetadataLogDir are as in Format. The node must be a voter
	// of the imported log, whose own directory need not be among the sources.
	NodeID         kafka.NodeID
	LogDirs        []string
	MetadataLogDir string
	// StaticVoters (controller.quorum.voters) and Listener, the name of the
	// controllers' listener, say where the voters are in a log of kraft.version 0,
	// which has no voters in it. Controllers, if given, names their directory ids
	// too; it is needed for those whose directory is not among the sources.
	StaticVoters []config.Voter
	Listener     string
	Controllers  []nodedir.Voter
}

// epochMargin is how far the new quorum's epochs are above every one that was
// seen: a controller whose directory is lost may have campaigned in higher ones,
// and a broker that has heard of those would never follow us.
const epochMargin = 1000

// ImportPlan is what an import takes and what becomes of it.
type ImportPlan struct {
	ClusterID string         `json:"cluster_id"`
	Sources   []ImportSource `json:"sources"`
	// TakenFrom is the source whose log is taken: of the highest last epoch, then
	// of the highest end (the rule of an Apache election).
	TakenFrom   string            `json:"taken_from"`
	LogStart    kafka.Offset      `json:"log_start"`
	EndOffset   kafka.Offset      `json:"end_offset"`
	LastEpoch   kafka.LeaderEpoch `json:"last_epoch"`
	Checkpoints []string          `json:"checkpoints"`
	// Digest is of the batches that are taken; it is the same on every controller.
	Digest string `json:"digest"`
	// EpochBase is what the new quorum's epochs are above.
	EpochBase       kafka.LeaderEpoch `json:"epoch_base"`
	KRaftVersion    int16             `json:"kraft_version"`
	Voters          []nodedir.Voter   `json:"voters"`
	MetadataVersion string            `json:"metadata_version"`
	Topics          int               `json:"topics"`
	Partitions      int               `json:"partitions"`
	Brokers         int               `json:"brokers"`
	Notes           []string          `json:"notes,omitempty"`

	taken *source
	// upgrade is the batch that brings a log of kraft.version 0 to 1, nil if there
	// is none to write.
	upgrade []byte
}

// Plan reads the sources, decides and checks everything; nothing is written.
func (i *Import) Plan() (*ImportPlan, error) {
	if i.MetadataLogDir == "" {
		return nil, errors.New("import: neither log.dirs nor metadata.log.dir is set")
	}
	if err := i.checkTargets(); err != nil {
		return nil, fmt.Errorf("import: %w", err)
	}
	sources, err := readSources(i.Sources)
	if err != nil {
		return nil, fmt.Errorf("import: %w", err)
	}
	plan := &ImportPlan{ClusterID: sources[0].meta.ClusterID}
	if i.ClusterID != "" && i.ClusterID != plan.ClusterID {
		return nil, fmt.Errorf("import: %s is of cluster %s, not of %s", sources[0].dir, plan.ClusterID, i.ClusterID)
	}
	if err := plan.choose(sources); err != nil {
		return nil, fmt.Errorf("import: %w", err)
	}
	state, err := plan.fold()
	if err == nil {
		err = i.settleVoters(plan, sources, state)
	}
	if err != nil {
		return nil, fmt.Errorf("import the log of %s: %w", plan.TakenFrom, err)
	}
	return plan, nil
}

// choose takes the log that an Apache election among these voters would make the
// leader's: the highest last epoch, then the highest end. Logs that agree in both
// hold the same records; the one that reaches back furthest is taken, and the
// lowest node id's, so that every controller takes the same.
func (p *ImportPlan) choose(sources []*source) error {
	best, highest := sources[0], kafka.LeaderEpoch(0)
	for _, s := range sources {
		if s.better(best) {
			best = s
		}
		highest = max(highest, s.highest)
		p.Sources = append(p.Sources, s.summary())
		p.Notes = append(p.Notes, s.notes...)
	}
	if best.end.Offset == 0 {
		return errors.New("no directory holds a record: there is nothing to import, format without --import")
	}
	if highest > 1<<31-1-2*epochMargin {
		return fmt.Errorf("epoch %d leaves no room for later ones", highest)
	}
	p.taken, p.TakenFrom, p.EpochBase = best, best.dir, highest+epochMargin
	p.LogStart, p.EndOffset, p.LastEpoch = best.start, best.end.Offset, best.end.Epoch
	for _, c := range best.checkpoints {
		p.Checkpoints = append(p.Checkpoints, filepath.Base(c.path))
	}
	return nil
}

// fold proves that the log can be understood from its start to its end, and
// that kvorum runs at its features.
func (p *ImportPlan) fold() (*State, error) {
	m := p.taken.metadata()
	state, err := m.StateAt(p.EndOffset - 1)
	if err != nil {
		return nil, err
	}
	if p.Digest, err = digest(m, p.taken); err != nil {
		return nil, err
	}
	im := state.Image
	p.KRaftVersion, p.MetadataVersion = state.KRaftVersion, im.MetadataVersion().String()
	p.Topics, p.Partitions, p.Brokers = im.TopicCount(), im.PartitionCount(), im.BrokerCount()
	if state.OpenTransaction != kafka.NoOffset {
		p.Notes = append(p.Notes, fmt.Sprintf("the metadata transaction that began at offset %d is open: the first active controller aborts it", state.OpenTransaction))
	}
	return state, kraft.Supported(im)
}

// Run imports: it plans, and writes this node's directories. The log is written
// beside its place and moved there when it is whole and durable, and
// meta.properties is written last, so that an interrupted import leaves an
// unformatted directory, in which it can be run again.
func (i *Import) Run() (*ImportPlan, error) {
	plan, err := i.Plan()
	if err != nil {
		return nil, err
	}
	own, ok := voterOf(plan.Voters, i.NodeID)
	if !ok {
		panic(fmt.Sprintf("admin: node %d is no voter of the plan", i.NodeID))
	}
	building := filepath.Join(i.MetadataLogDir, nodedir.MetadataDir+".import")
	if err := os.RemoveAll(building); err != nil {
		return nil, fmt.Errorf("import: remove what an earlier import left: %w", err)
	}
	if err := plan.write(building); err != nil {
		return nil, fmt.Errorf("import the log of %s: %w", plan.TakenFrom, err)
	}
	if err := i.writeIdentity(plan, building); err != nil {
		return nil, fmt.Errorf("import: %w", err)
	}
	if err := moveInto(building, filepath.Join(i.MetadataLogDir, nodedir.MetadataDir)); err != nil {
		return nil, fmt.Errorf("import: %w", err)
	}
	for _, dir := range i.dirs() {
		id := own.DirectoryID
		if dir != i.MetadataLogDir {
			if id, err = randomDirectory(dir); err != nil {
				return nil, fmt.Errorf("import: %w", err)
			}
		}
		meta := &nodedir.MetaProperties{Version: 1, ClusterID: plan.ClusterID, NodeID: i.NodeID, DirectoryID: id}
		if err := nodedir.WriteMeta(dir, meta); err != nil {
			return nil, fmt.Errorf("import: %w", err)
		}
	}
	return plan, nil
}

// dirs are all directories of the node, that of the metadata log last.
func (i *Import) dirs() []string {
	dirs := slices.DeleteFunc(slices.Clone(i.LogDirs), func(d string) bool { return d == i.MetadataLogDir })
	return append(dirs, i.MetadataLogDir)
}

// checkTargets: what is written to is new, and no source.
func (i *Import) checkTargets() error {
	for _, dir := range i.dirs() {
		_, err := nodedir.ReadMeta(dir)
		switch {
		case err == nil:
			return fmt.Errorf("%s is already formatted: the import needs an empty directory, and leaves the old ones as they are", dir)
		case !errors.Is(err, nodedir.ErrNotFormatted):
			return err
		}
	}
	return refuseLeftovers(filepath.Join(i.MetadataLogDir, nodedir.MetadataDir))
}

// batchAfter is the batch that follows the imported log.
func batchAfter(end kafka.Offset, epoch kafka.LeaderEpoch, timestampMs int64, controls ...record.Control) ([]byte, error) {
	encoded, err := metadatalog.EncodeControls(controls...)
	if err != nil {
		return nil, err
	}
	return batch.AppendControl(nil, end, epoch, timestampMs, encoded), nil
}

// write makes the metadata directory: the store and the checkpoints. All of it
// is durable when it returns.
func (p *ImportPlan) write(dir string) error {
	store, err := metadatalog.Open(filepath.Join(dir, nodedir.StoreDir), metadatalog.Options{})
	if err != nil {
		return err
	}
	err = p.taken.copyLog(store)
	if err == nil && (store.EndOffset() != p.EndOffset || store.LastEpoch() != p.LastEpoch) {
		err = fmt.Errorf("%s has changed while it was read: it ended at offset %d in epoch %d, and now at %d in %d: stop its controller", p.TakenFrom, p.EndOffset, p.LastEpoch, store.EndOffset(), store.LastEpoch())
	}
	if err == nil && p.upgrade != nil {
		err = store.Append(metadatalog.Append{Batches: p.upgrade, Sync: true})
	}
	if err := errors.Join(err, store.Close()); err != nil {
		return err
	}
	return copyCheckpoints(p.taken.checkpoints, dir)
}
