package metadatalog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2"

	"kvorum/internal/vfs"
)

// FormatVersion is the version of the store's own format: the keys and values
// in pebble and the file that names the database. It grows when an older binary
// would misread what a newer one wrote.
const FormatVersion = 1

const (
	// currentFile names the database that is the store; replacing it is what makes
	// a restored database the store in one step.
	currentFile = "metadata-store"
	dbPrefix    = "db-"
	// maxCurrentBytes bounds what is read of that file: three short lines.
	maxCurrentBytes = 4 << 10
)

// openCurrent opens the database that dir's current file names and removes
// others, which a crash left behind. Where there is no such file it makes an
// empty store.
func openCurrent(fsys vfs.FS, dir string, log pebble.Logger) (*engine, error) {
	path := fsys.PathJoin(dir, currentFile)
	name, err := readCurrent(fsys, path)
	if errors.Is(err, fs.ErrNotExist) {
		return createCurrent(fsys, dir, log)
	}
	if err != nil {
		return nil, err
	}
	e, err := openEngine(fsys, fsys.PathJoin(dir, name), openExisting, log)
	if err != nil {
		return nil, err
	}
	return e, removeOthers(fsys, dir, name)
}

// openReadOnly opens the database that dir's current file names.
func openReadOnly(fsys vfs.FS, dir string, log pebble.Logger) (*engine, error) {
	name, err := readCurrent(fsys, fsys.PathJoin(dir, currentFile))
	if err != nil {
		return nil, err
	}
	return openEngine(fsys, fsys.PathJoin(dir, name), openUnchanged, log)
}

// createCurrent makes an empty store. A database that is there without the file
// is what a crash left of an earlier try, and then it is empty; one with
// anything in it is somebody's store that lost the file, and is left alone.
func createCurrent(fsys vfs.FS, dir string, log pebble.Logger) (*engine, error) {
	names, err := databases(fsys, dir)
	if err != nil {
		return nil, err
	}
	first := dbName(1)
	e, err := openEngine(fsys, fsys.PathJoin(dir, first), openOrCreate, log)
	if err != nil {
		return nil, err
	}
	if lost := len(names) > 0 && (len(names) > 1 || names[0] != first || e.state.end > 0 || e.state.applied > 0); lost {
		return nil, errors.Join(fmt.Errorf("open metadata store: %s is missing but %s holds a database: restore that file, or remove the directory to start empty",
			fsys.PathJoin(dir, currentFile), fsys.PathJoin(dir, names[0])), e.close())
	}
	if err := errors.Join(writeCurrent(fsys, dir, first), vfs.SyncDir(fsys, fsys.PathDir(dir))); err != nil {
		return nil, errors.Join(err, e.close())
	}
	return e, nil
}

func dbName(n int) string { return fmt.Sprintf("%s%06d", dbPrefix, n) }

func dbNumber(name string) (int, bool) {
	n, err := strconv.Atoi(strings.TrimPrefix(name, dbPrefix))
	return n, err == nil && n > 0 && dbName(n) == name
}

// databases lists the database directories of dir.
func databases(fsys vfs.FS, dir string) (names []string, err error) {
	all, err := fsys.List(dir)
	if err != nil {
		return nil, fmt.Errorf("open metadata store: list %s: %w", dir, err)
	}
	for _, name := range all {
		if _, ok := dbNumber(name); ok {
			names = append(names, name)
		}
	}
	return names, nil
}

func removeOthers(fsys vfs.FS, dir, current string) error {
	names, err := databases(fsys, dir)
	for _, name := range names {
		if name != current {
			err = errors.Join(err, fsys.RemoveAll(fsys.PathJoin(dir, name)))
		}
	}
	return err
}

// readCurrent parses the current file and returns the database's name.
func readCurrent(fsys vfs.FS, path string) (string, error) {
	f, err := fsys.Open(path)
	if err != nil {
		return "", fmt.Errorf("open metadata store: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxCurrentBytes))
	if err != nil {
		return "", fmt.Errorf("open metadata store: read %s: %w", path, err)
	}
	return parseCurrent(string(text), path)
}

func parseCurrent(text, path string) (string, error) {
	lines := strings.Split(text, "\n")
	format, err := strconv.Atoi(strings.TrimPrefix(lines[0], "format="))
	if err != nil || !strings.HasPrefix(lines[0], "format=") || format < 1 {
		return "", fmt.Errorf("open metadata store: %w: %s does not begin with format=N: restore it from a copy", ErrDamaged, path)
	}
	if format > FormatVersion {
		return "", fmt.Errorf("open metadata store: %s has format %d and this kvorum knows up to %d: run the newer kvorum that wrote it",
			path, format, FormatVersion)
	}
	if len(lines) == 3 && lines[2] == "" {
		if name, ok := strings.CutPrefix(lines[1], "database="); ok {
			if _, ok := dbNumber(name); ok {
				return name, nil
			}
		}
	}
	return "", fmt.Errorf("open metadata store: %w: %s names no database: restore it from a copy", ErrDamaged, path)
}

// writeCurrent makes name the store's database in one step, durably.
func writeCurrent(fsys vfs.FS, dir, name string) error {
	path := fsys.PathJoin(dir, currentFile)
	text := fmt.Sprintf("format=%d\ndatabase=%s\n", FormatVersion, name)
	if err := vfs.Replace(fsys, path, []byte(text)); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
