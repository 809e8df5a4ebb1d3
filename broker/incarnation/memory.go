package incarnation

import (
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"

	"kvorum/internal/kafka"
)

// FileName is the file in which each log directory keeps its Memory.
const FileName = "kvorum-incarnation"

// Memory is what a log directory remembers of the broker whose data is in it. It is
// durable before a registration counts and before the controllers are asked for
// leave to stop.
type Memory struct {
	// ID is the incarnation, and Epoch its registration: kafka.NoBrokerEpoch until a
	// controller has told it.
	ID    kafka.UUID
	Epoch kafka.BrokerEpoch
	// Previous is what this incarnation's registration says of the one before
	// (KIP-966): the epoch whose data is whole here, or kafka.NoBrokerEpoch.
	Previous kafka.BrokerEpoch
	// Leaving says that the controllers may have been asked for leave to stop.
	Leaving bool
	// Directories are those that were in order, this one among them.
	Directories []kafka.DirectoryID
	Place       Place
}

// Place is vfs.Place of the directory's meta.properties: a file that nobody
// rewrites.
type Place struct {
	Boot          string
	Device, Inode uint64
	Born          int64
	Namespace     string
	Mount         uint64
}

// Known reports whether the system told the place.
func (p Place) Known() bool { return p.Boot != "" }

// version is the format's.
const version = "1"

// ErrDamaged is in the chain of every error about the content of a file.
var ErrDamaged = errors.New("the file is damaged")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Append appends the file's content: KEY=VALUE lines in a fixed order, and a
// checksum of them.
func (m *Memory) Append(dst []byte) []byte {
	from := len(dst)
	ids := make([]string, len(m.Directories))
	for i, id := range m.Directories {
		ids[i] = id.String()
	}
	dst = fmt.Appendf(dst, "version=%s\nincarnation.id=%s\nbroker.epoch=%d\nprevious.broker.epoch=%d\nleaving=%t\ndirectories=%s\n",
		version, m.ID, m.Epoch, m.Previous, m.Leaving, strings.Join(ids, ","))
	p := m.Place
	dst = fmt.Appendf(dst, "boot=%s\ndevice=%d\ninode=%d\nborn=%d\nnamespace=%s\nmount=%d\n", p.Boot, p.Device, p.Inode, p.Born, p.Namespace, p.Mount)
	return fmt.Appendf(dst, "crc=%08x\n", crc32.Checksum(dst[from:], castagnoli))
}

// fields are the keys in their order.
var fields = [...]string{"version", "incarnation.id", "broker.epoch", "previous.broker.epoch", "leaving", "directories",
	"boot", "device", "inode", "born", "namespace", "mount", "crc"}

// Parse reads a file's content. The error is ErrDamaged.
func Parse(data []byte) (*Memory, error) {
	lines := strings.SplitAfter(string(data), "\n")
	if len(lines) != len(fields)+1 || lines[len(fields)] != "" {
		return nil, fmt.Errorf("%w: it has %d lines and not %d", ErrDamaged, len(lines)-1, len(fields))
	}
	values := map[string]string{}
	for i, name := range fields {
		value, ok := strings.CutPrefix(lines[i], name+"=")
		if !ok {
			return nil, fmt.Errorf("%w: line %d is not %s=", ErrDamaged, i+1, name)
		}
		values[name] = strings.TrimSuffix(value, "\n")
	}
	sum := crc32.Checksum(data[:len(data)-len(lines[len(fields)-1])], castagnoli)
	if values["crc"] != fmt.Sprintf("%08x", sum) {
		return nil, fmt.Errorf("%w: its checksum is %s and not %08x", ErrDamaged, values["crc"], sum)
	}
	if values["version"] != version {
		return nil, fmt.Errorf("%w: version %.40q is not known, %s is", ErrDamaged, values["version"], version)
	}
	m, err := parseValues(values)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return m, nil
}

func parseValues(values map[string]string) (*Memory, error) {
	m := &Memory{Place: Place{Boot: values["boot"], Namespace: values["namespace"]}}
	var errs [8]error
	m.ID, errs[0] = kafka.ParseUUID(values["incarnation.id"])
	m.Leaving, errs[1] = strconv.ParseBool(values["leaving"])
	epoch := func(name string, err *error) kafka.BrokerEpoch {
		n, bad := strconv.ParseInt(values[name], 10, 64)
		*err = bad
		return kafka.BrokerEpoch(n)
	}
	m.Epoch, m.Previous = epoch("broker.epoch", &errs[2]), epoch("previous.broker.epoch", &errs[3])
	m.Place.Device, errs[4] = strconv.ParseUint(values["device"], 10, 64)
	m.Place.Inode, errs[5] = strconv.ParseUint(values["inode"], 10, 64)
	m.Place.Born, errs[6] = strconv.ParseInt(values["born"], 10, 64)
	m.Place.Mount, errs[7] = strconv.ParseUint(values["mount"], 10, 64)
	for id := range strings.SplitSeq(values["directories"], ",") {
		u, err := kafka.ParseUUID(id)
		if err != nil {
			return nil, fmt.Errorf("directories: %w", err)
		}
		m.Directories = append(m.Directories, u)
	}
	return m, errors.Join(errs[:]...)
}
