package replica

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"

	"kvorum/broker/replica/core"
	"kvorum/internal/kafka"
	"kvorum/internal/vfs"
)

// The journal's file is text, like Kafka's checkpoints: a version, the number of
// entries, and a line for each with the topic's id, the partition, the leader
// epoch, the partition epoch that the proposal changes, the size of the ISR that
// it changes, and the proposed members with their broker epochs.
//
//	0
//	1
//	3Xq0FQ6xQ4qk1YfEHk2Fog 4 12 31 1 101:5021,102:5077
const journalVersion = "0"

// maxJournal bounds what is read: 200,000 partitions with an ISR of 5.
const maxJournal = 64 << 20

// errJournal is in the chain of every error about the file's content.
var errJournal = errors.New("the file is damaged")

// readJournal returns the file's bytes, nil where there is no file.
func readJournal(fs vfs.FS, path string) ([]byte, error) {
	f, err := fs.Open(path)
	if errors.Is(err, iofs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxJournal+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if len(data) > maxJournal {
		return nil, fmt.Errorf("%w: it is longer than %d bytes", errJournal, maxJournal)
	}
	return data, nil
}

// CheckJournal reports what is wrong with the journal of a log directory, nil where
// it is in order or not there. A broker whose journal is damaged does not know whom
// it has to wait for.
func CheckJournal(fs vfs.FS, dir string) error {
	data, err := readJournal(fs, fs.PathJoin(dir, journalName))
	if err == nil {
		_, err = parseJournal(data)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", journalName, err)
	}
	return nil
}

func appendJournal(dst []byte, changes map[partitionKey]*core.Proposal) []byte {
	dst = fmt.Appendf(dst, "%s\n%d\n", journalVersion, len(changes))
	keys := slices.SortedFunc(maps.Keys(changes), func(a, b partitionKey) int {
		if c := bytes.Compare(a.topic[:], b.topic[:]); c != 0 {
			return c
		}
		return int(a.partition) - int(b.partition)
	})
	for _, key := range keys {
		c := changes[key]
		dst = fmt.Appendf(dst, "%s %d %d %d %d ", key.topic, key.partition, c.LeaderEpoch, c.PartitionEpoch, c.Old)
		for i, m := range c.ISR {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = fmt.Appendf(dst, "%d:%d", m.ID, m.Epoch)
		}
		dst = append(dst, '\n')
	}
	return dst
}

func parseJournal(data []byte) (map[partitionKey]*core.Proposal, error) {
	out := map[partitionKey]*core.Proposal{}
	if len(data) == 0 {
		return out, nil
	}
	lines := strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
	if lines[0] != journalVersion || len(lines) < 2 {
		return nil, fmt.Errorf("%w: version %.40q is not known, %s is", errJournal, lines[0], journalVersion)
	}
	if n, err := strconv.Atoi(lines[1]); err != nil || n != len(lines)-2 {
		return nil, fmt.Errorf("%w: it declares %.40q entries and has %d", errJournal, lines[1], len(lines)-2)
	}
	for i, line := range lines[2:] {
		key, change, err := parseProposal(line)
		if err != nil {
			return nil, fmt.Errorf("%w: line %d: %w", errJournal, i+3, err)
		}
		out[key] = change
	}
	return out, nil
}

func parseProposal(line string) (partitionKey, *core.Proposal, error) {
	fields := strings.Fields(line)
	if len(fields) != 6 {
		return partitionKey{}, nil, fmt.Errorf("it has %d fields and not 6", len(fields))
	}
	topic, err := kafka.ParseUUID(fields[0])
	numbers := [4]int64{}
	for i := range numbers {
		n, bad := strconv.ParseInt(fields[1+i], 10, 32)
		numbers[i], err = n, errors.Join(err, bad)
	}
	c := &core.Proposal{LeaderEpoch: kafka.LeaderEpoch(numbers[1]), PartitionEpoch: kafka.PartitionEpoch(numbers[2]), Old: int(numbers[3])}
	for member := range strings.SplitSeq(fields[5], ",") {
		id, epoch, _ := strings.Cut(member, ":")
		i, bad := strconv.ParseInt(id, 10, 32)
		e, worse := strconv.ParseInt(epoch, 10, 64)
		err = errors.Join(err, bad, worse)
		c.ISR = append(c.ISR, core.Member{ID: kafka.BrokerID(i), Epoch: kafka.BrokerEpoch(e)})
	}
	return partitionKey{topic, kafka.PartitionID(numbers[0])}, c, err
}
