//go:build linux

package powerloss

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// sector is what a disk writes whole.
const sector = 512

// Lost is what a loss of power took.
type Lost struct {
	Files int   // whose bytes were changed
	Bytes int64 // by which they are shorter
	Names int   // changes of names that were undone
}

// Lose takes back some of what the process that used the journal dir, and has ended,
// had not synced: of each file nothing, everything, or sectors as random says; of each
// directory the newest changes. What is left then counts as synced.
func Lose(dir string, random *rand.Rand) (Lost, error) {
	var lost Lost
	held, err := filepath.Glob(filepath.Join(dir, inodesDir, "*"))
	if err != nil {
		return lost, err
	}
	for _, d := range held {
		if err := loseBytes(d, random, &lost); err != nil {
			return lost, fmt.Errorf("lose bytes of %s: %w", d, err)
		}
	}
	if err := loseNames(dir, random, &lost); err != nil {
		return lost, fmt.Errorf("lose names of %s: %w", dir, err)
	}
	losses, err := lossesSoFar(dir)
	if err != nil {
		return lost, err
	}
	return lost, errors.Join(os.WriteFile(filepath.Join(dir, lossesName), []byte(strconv.Itoa(losses+1)), 0o644),
		os.RemoveAll(filepath.Join(dir, inodesDir)), os.RemoveAll(filepath.Join(dir, savedDir)), os.RemoveAll(filepath.Join(dir, namesName)))
}

// lossesSoFar is how often Lose was called.
func lossesSoFar(dir string) (int, error) {
	text, err := os.ReadFile(filepath.Join(dir, lossesName))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

func loseBytes(dir string, random *rand.Rand, lost *Lost) error {
	notes, err := readNotes(dir)
	path := filepath.Join(dir, linkName)
	if err != nil || len(notes) == 0 {
		return err
	}
	now, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil // it had no name
	}
	if err != nil {
		return err
	}
	left := before(notes, now)
	switch draw := random.IntN(4); {
	case draw == 0:
		left = now
	case draw == 1:
		left = torn(left, now, random)
	}
	if string(left) == string(now) {
		return nil
	}
	lost.Files++
	lost.Bytes += int64(max(0, len(now)-len(left)))
	return os.WriteFile(path, left, 0o644) // into the same inode, under all its names
}

// before is what a file was before all that the notes have.
func before(notes []note, now []byte) []byte {
	old := slices.Clone(now)
	for _, n := range slices.Backward(notes) {
		switch {
		case n.Size != nil:
			old = resize(old, *n.Size)
		default:
			old = resize(old, max(int64(len(old)), n.Offset+int64(len(n.Old))))
			copy(old[n.Offset:], n.Old)
		}
	}
	return old
}

// torn is a file of which some sectors were written and some were not.
func torn(old, now []byte, random *rand.Rand) []byte {
	short, long := min(len(old), len(now)), max(len(old), len(now))
	size := short + random.IntN(long-short+1)
	if size < long {
		size = max(short, size/sector*sector)
	}
	out, written := resize(old, int64(size)), resize(now, int64(size))
	for at := 0; at < size; at += sector {
		if random.IntN(4) > 0 {
			copy(out[at:min(at+sector, size)], written[at:])
		}
	}
	return out
}

// resize returns a copy of a size, with zeros behind what there is.
func resize(b []byte, size int64) []byte {
	out := make([]byte, size)
	copy(out, b)
	return out
}

func loseNames(dir string, random *rand.Rand, lost *Lost) error {
	pending, err := readChanges(dir)
	if err != nil {
		return err
	}
	byDir := map[string]int{}
	for _, c := range pending {
		byDir[filepath.Dir(c.Path)]++
	}
	kept := map[string]int{} // the oldest changes of a directory that stay
	for _, c := range pending {
		d := filepath.Dir(c.Path)
		if _, drawn := kept[d]; drawn {
			continue
		}
		kept[d] = 0
		switch random.IntN(4) {
		case 0:
			kept[d] = byDir[d]
		case 1:
			kept[d] = random.IntN(byDir[d] + 1)
		}
	}
	for _, c := range slices.Backward(pending) {
		d := filepath.Dir(c.Path)
		byDir[d]--
		if byDir[d] < kept[d] {
			continue
		}
		lost.Names++
		if err := c.undo(dir); err != nil {
			return fmt.Errorf("undo %+v: %w", c, err)
		}
	}
	return nil
}
