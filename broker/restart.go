package broker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/broker/incarnation"
	"kvorum/broker/replica"
	"kvorum/internal/kafka"
	"kvorum/internal/vfs"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/nodedir"
	"kvorum/metadatalog/replay"
)

// memories are the files in which the log directories remember as whom this broker
// wrote to them (incarnation.Memory). Safe for concurrent use.
type memories struct {
	fs     vfs.FS
	logger *slog.Logger

	mu   sync.Mutex
	dirs []incarnation.Found // those that are in order
	now  incarnation.Memory
}

// metaProperties is the file whose place is the directory's.
const metaProperties = "meta.properties"

// maxMemory bounds what is read of a file: some hundred directories.
const maxMemory = 64 << 10

// remember finds out as whom the broker starts, and notes it. The log directories
// are open.
func (b *Broker) remember() error {
	fresh, err := kafka.RandomUUID(rand.Reader)
	if err != nil {
		return err
	}
	found := b.found()
	b.begun = incarnation.Begin(b.cfg.Node.Broker.ServeWithoutQuorum, found, fresh)
	b.memories = &memories{fs: vfs.Default, logger: b.logger, now: incarnation.Memory{ID: b.begun.ID, Epoch: b.begun.Epoch, Previous: b.begun.Previous}}
	for _, d := range found {
		if d.Unusable == "" {
			b.memories.dirs = append(b.memories.dirs, d)
			b.memories.now.Directories = append(b.memories.now.Directories, d.ID)
		}
	}
	if b.begun.Resumes() {
		b.logger.Info("this broker goes on as the incarnation that it was", "incarnation", b.begun.ID, "epoch", b.begun.Epoch)
	} else {
		b.logger.Info("this broker has to register", "incarnation", b.begun.ID, "previous_epoch", b.begun.Previous, "because", b.begun.Why)
	}
	return b.memories.write(func(*incarnation.Memory) {})
}

// found is what there is to know of the directories before anything is done in them.
func (b *Broker) found() []incarnation.Found {
	var all []incarnation.Found
	for _, m := range b.dirs.Marks() {
		f := incarnation.Found{Path: m.Path, ID: m.ID, Clean: m.Clean, CleanEpoch: m.Epoch}
		if m.Err != nil {
			f.Unusable = fmt.Sprintf("it cannot be used: %v", m.Err)
		} else if readMemory(&f); f.Unusable == "" {
			if err := replica.CheckJournal(vfs.Default, m.Path); err != nil {
				f.Memory, f.Damage = nil, err.Error()
			}
		}
		all = append(all, f)
	}
	own := b.cfg.Node.MetadataLogDir
	if slices.ContainsFunc(all, func(f incarnation.Found) bool { return filepath.Clean(f.Path) == filepath.Clean(own) }) {
		return all
	}
	f := incarnation.Found{Path: own, Synced: true}
	if meta, err := nodedir.ReadMeta(own); err != nil {
		f.Unusable = err.Error()
	} else {
		f.ID = meta.DirectoryID
		readMemory(&f)
	}
	return append(all, f)
}

// readMemory reads what a directory remembers, and where it is.
func readMemory(f *incarnation.Found) {
	if p, err := vfs.PlaceOf(vfs.Default, filepath.Join(f.Path, metaProperties)); err == nil {
		f.Place = incarnation.Place(p)
	}
	file, err := vfs.Default.Open(filepath.Join(f.Path, incarnation.FileName))
	if errors.Is(err, iofs.ErrNotExist) {
		return
	}
	var data []byte
	if err == nil {
		data, err = io.ReadAll(io.LimitReader(file, maxMemory))
		err = errors.Join(err, file.Close())
	}
	if err == nil {
		f.Memory, err = incarnation.Parse(data)
	}
	if err != nil {
		f.Damage = fmt.Sprintf("%s: %v", incarnation.FileName, err)
	}
}

// write changes what the directories remember, durably in all of them when it
// returns nil. A crash in between leaves directories that do not agree, and the next
// start takes them for not intact.
func (m *memories) write(change func(*incarnation.Memory)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	change(&m.now)
	var errs []error
	for _, d := range m.dirs {
		of := m.now
		of.Place = d.Place
		if err := vfs.Replace(m.fs, filepath.Join(d.Path, incarnation.FileName), of.Append(nil)); err != nil {
			errs = append(errs, fmt.Errorf("note in %s as whom this broker writes there: %w", d.Path, err))
		}
	}
	return errors.Join(errs...)
}

// without forgets a directory that has failed: what was written there may be
// missing, so that the broker will not be who it was. The other directories are told,
// and the failed one, if its disk still takes that, forgets whose it is: there may be no
// other.
func (m *memories) without(id kafka.DirectoryID) {
	m.mu.Lock()
	for _, d := range m.dirs {
		if d.ID == id {
			m.forget(d.Path)
		}
	}
	m.dirs = slices.DeleteFunc(m.dirs, func(d incarnation.Found) bool { return d.ID == id })
	m.mu.Unlock()
	err := m.write(func(now *incarnation.Memory) {
		now.Directories = slices.DeleteFunc(now.Directories, func(d kafka.DirectoryID) bool { return d == id })
	})
	if err != nil {
		m.logger.Error("the other log directories were not told of the failed one", "error", err)
	}
}

// forget takes away what a directory remembers. Where a file system refuses that, it
// does until it is mounted anew, which counts as a loss by itself.
func (m *memories) forget(dir string) {
	err := m.fs.Remove(filepath.Join(dir, incarnation.FileName))
	if err == nil {
		err = vfs.SyncDir(m.fs, dir)
	}
	if err != nil && !errors.Is(err, iofs.ErrNotExist) {
		m.logger.Error("a failed log directory still says whose it is", "path", dir, "error", err)
	}
}

// registered notes the epoch of the broker's registration, before it counts.
func (m *memories) registered(epoch kafka.BrokerEpoch) error {
	return m.write(func(now *incarnation.Memory) { now.Epoch = epoch })
}

// leaving notes that the controllers are asked for leave to stop, before they are.
func (m *memories) leaving() error {
	m.mu.Lock()
	known := m.now.Leaving
	m.mu.Unlock()
	if known {
		return nil
	}
	return m.write(func(now *incarnation.Memory) { now.Leaving = true })
}

// grace is how long a broker that may serve by itself waits for word of a live
// controller, as long as one may be there: what it hears is better than what it
// remembers.
const grace = 500 * time.Millisecond

// glance takes an image and follows no further.
type glance struct{ image *image.Image }

// Name implements replay.Publisher.
func (*glance) Name() string { return "start" }

// Publish implements replay.Publisher.
func (g *glance) Publish(_ *image.Changes, im *image.Image, _ replay.Manifest) { g.image = im }

// alone reports whether the broker serves from the last image that it has, since no
// controller is there to confirm it. Before it returns true or false the registrar
// has begun.
func (b *Broker) alone(ctx context.Context) bool {
	if !b.begun.Resumes() {
		b.stay(b.begun.Why)
		b.registrar.tell(lifecycleStarted{})
		return false
	}
	ok, why := b.begun.Serves(b.ownRegistration(ctx))
	if !ok {
		b.stay(why)
		b.registrar.tell(lifecycleStarted{})
		return false
	}
	b.registrar.tell(lifecycleResumed{b.begun.Epoch})
	timer := time.NewTimer(grace)
	defer timer.Stop()
	var unreachable <-chan struct{} // never, for a combined node: one of the controllers is there
	if b.fetcher != nil {
		unreachable = b.fetcher.unreachable
	}
	select {
	case <-b.confirmed():
		return false
	case <-unreachable:
	case <-timer.C:
	case <-ctx.Done():
		return false
	}
	// The other brokers may have told what happened to this one.
	if ok, why := b.begun.Serves(b.ownRegistration(ctx)); !ok {
		b.stay(why)
		return false
	}
	return true
}

// stay keeps the reason why the broker waits for a controller.
func (b *Broker) stay(why string) { b.waits.Store(&why) }

// ownRegistration is this broker's registration in its own copy of the metadata log,
// nil where there is none.
func (b *Broker) ownRegistration(ctx context.Context) *incarnation.Registration {
	if b.fetcher != nil {
		if b.fetcher.empty() {
			return nil
		}
		b.fetcher.follow()
	}
	var g glance
	if err := b.source.AddPublisher(ctx, &g); err != nil {
		return nil
	}
	if err := b.source.RemovePublisher(ctx, &g); err != nil {
		return nil
	}
	own := g.image.Broker(kafka.BrokerID(b.cfg.Node.ID))
	if own == nil {
		return nil
	}
	return &incarnation.Registration{
		ID: own.IncarnationID, Epoch: own.Epoch, Fenced: own.Fenced, Leaving: own.InControlledShutdown,
		Same: registeredSo(own, b.registrar.registration),
	}
}

// registeredSo reports whether a registration says what req does.
func registeredSo(own *image.Broker, req *kmsg.BrokerRegistrationRequest) bool {
	rack := func(r *string) string {
		if r == nil {
			return ""
		}
		return *r
	}
	listeners := func(l kmsg.BrokerRegistrationRequestListener, e image.Endpoint) bool {
		return l.Name == e.Name && l.Host == e.Host && l.Port == e.Port && l.SecurityProtocol == e.SecurityProtocol
	}
	features := func(f kmsg.BrokerRegistrationRequestFeature, r image.FeatureRange) bool {
		return f.Name == r.Name && f.MinSupportedVersion == r.MinSupportedVersion && f.MaxSupportedVersion == r.MaxSupportedVersion
	}
	directories := func(d [16]byte, id kafka.DirectoryID) bool { return kafka.DirectoryID(d) == id }
	return rack(own.Rack) == rack(req.Rack) && sameMembers(req.Listeners, own.Endpoints, listeners) &&
		sameMembers(req.Features, own.Features, features) && (len(own.Directories) == 0 || sameMembers(req.LogDirs, own.Directories, directories))
}

// sameMembers reports whether two lists without duplicates hold the same, in any
// order.
func sameMembers[A, B any](a []A, b []B, same func(A, B) bool) bool {
	if len(a) != len(b) {
		return false
	}
	return !slices.ContainsFunc(a, func(x A) bool {
		return !slices.ContainsFunc(b, func(y B) bool { return same(x, y) })
	})
}
