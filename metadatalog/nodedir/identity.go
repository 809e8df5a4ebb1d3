package nodedir

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/record"
)

// MetadataDir is the directory of the metadata log within a log directory. All
// that kvorum keeps for itself lies in it: Apache's broker refuses to start on a
// log directory with other unknown directories.
const MetadataDir = "__cluster_metadata-0"

// identityFile holds what only kvorum needs to know of a controller.
const identityFile = "kvorum.node"

// identityVersion is the newest format of identityFile that this build knows.
const identityVersion = 1

// Identity is what `kvorum storage format` decides for a controller, besides
// meta.properties.
type Identity struct {
	// Version is the format of the file.
	Version int `json:"version"`
	// Instance is drawn anew at every formatting, so that a directory that was
	// wiped and formatted again is another raft replica than before.
	Instance uint64 `json:"formatting_instance"`
	// Voters is the quorum as formatted: ids, directory ids and Kafka endpoints.
	Voters []Voter `json:"voters"`
	// Bootstrap are the records that an empty log begins with, as value frames.
	Bootstrap [][]byte `json:"bootstrap"`
	// EpochBase is added to raft's term: above any epoch that an imported log saw.
	EpochBase kafka.LeaderEpoch `json:"epoch_base"`
}

// Voter is one controller of the quorum.
type Voter struct {
	ID          kafka.NodeID      `json:"id"`
	DirectoryID kafka.DirectoryID `json:"directory_id"`
	Host        string            `json:"host"`
	Port        uint16            `json:"port"`
	Listener    string            `json:"listener"`
}

// KRaftVoters is the quorum as the log's control record.
func (i *Identity) KRaftVoters() record.KRaftVoters {
	var out record.KRaftVoters
	for _, v := range i.Voters {
		out.Voters = append(out.Voters, record.QuorumVoter{
			VoterID:             v.ID,
			VoterDirectoryID:    v.DirectoryID,
			Endpoints:           []record.VoterEndpoint{{Name: v.Listener, Host: v.Host, Port: v.Port}},
			KRaftVersionFeature: record.KRaftVersionRange{MinSupportedVersion: 0, MaxSupportedVersion: 1},
		})
	}
	return out
}

// BootstrapRecords decodes the records that an empty log begins with.
func (i *Identity) BootstrapRecords() ([]record.Message, error) {
	out := make([]record.Message, 0, len(i.Bootstrap))
	for n, value := range i.Bootstrap {
		m, err := record.Decode(value)
		if err != nil {
			return nil, fmt.Errorf("bootstrap record %d: %w", n, err)
		}
		out = append(out, m)
	}
	return out, nil
}

// ReadIdentity reads the identity of the controller whose metadata directory
// metadataDir is.
func ReadIdentity(metadataDir string) (*Identity, error) {
	path := filepath.Join(metadataDir, identityFile)
	text, err := readSmall(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w as a kvorum controller: run `kvorum storage format` first", metadataDir, ErrNotFormatted)
	}
	if err != nil {
		return nil, err
	}
	var id Identity
	if err := json.Unmarshal([]byte(text), &id); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w", path, err)
	}
	if id.Version != identityVersion {
		return nil, fmt.Errorf("%s has format %d and this kvorum knows %d: use a newer kvorum", path, id.Version, identityVersion)
	}
	if id.Instance == 0 || len(id.Voters) == 0 {
		return nil, fmt.Errorf("%s is damaged: no formatting instance or no voters", path)
	}
	return &id, nil
}

// WriteIdentity creates metadataDir and writes id into it durably.
func WriteIdentity(metadataDir string, id *Identity) error {
	if err := os.MkdirAll(metadataDir, 0o755); err != nil {
		return fmt.Errorf("create the metadata directory: %w", err)
	}
	id.Version = identityVersion
	text, err := json.MarshalIndent(id, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", identityFile, err)
	}
	return WriteFile(filepath.Join(metadataDir, identityFile), append(text, '\n'))
}

// ParseVoters reads the value of --initial-controllers:
// ID@HOST:PORT:DIRECTORY-ID, separated by commas. listener is the name of the
// controllers' listener.
func ParseVoters(text, listener string) ([]Voter, error) {
	var voters []Voter
	seen := map[kafka.NodeID]bool{}
	for _, item := range strings.Split(text, ",") {
		v, err := parseVoter(strings.TrimSpace(item))
		if err != nil {
			return nil, fmt.Errorf("initial controller %q: %w", item, err)
		}
		if seen[v.ID] {
			return nil, fmt.Errorf("initial controller %q: id %d is named twice", item, v.ID)
		}
		seen[v.ID] = true
		v.Listener = listener
		voters = append(voters, v)
	}
	return voters, nil
}

func parseVoter(item string) (v Voter, err error) {
	id, rest, ok := strings.Cut(item, "@")
	last := strings.LastIndexByte(rest, ':')
	if !ok || last < 0 {
		return v, errors.New("it is not ID@HOST:PORT:DIRECTORY-ID")
	}
	address, directory := rest[:last], rest[last+1:]
	colon := strings.LastIndexByte(address, ':')
	if colon <= 0 {
		return v, errors.New("it is not ID@HOST:PORT:DIRECTORY-ID")
	}
	if _, err = fmt.Sscanf(id, "%d", &v.ID); err != nil || v.ID < 0 || fmt.Sprint(v.ID) != id {
		return v, fmt.Errorf("id %q is not a number from 0 on", id)
	}
	v.Host = strings.Trim(address[:colon], "[]")
	if _, err = fmt.Sscanf(address[colon+1:], "%d", &v.Port); err != nil || v.Port == 0 || fmt.Sprint(v.Port) != address[colon+1:] {
		return v, fmt.Errorf("port %q is not a number from 1 to 65535", address[colon+1:])
	}
	if v.DirectoryID, err = kafka.ParseUUID(directory); err != nil {
		return v, err
	}
	if v.DirectoryID.Reserved() {
		return v, fmt.Errorf("directory id %s is reserved", v.DirectoryID)
	}
	return v, nil
}

// FormattingFile reports whether name is a file of the metadata directory that
// formatting writes, so that finding it says nothing about a log.
func FormattingFile(name string) bool {
	return name == identityFile || strings.HasPrefix(name, identityFile+".") && strings.HasSuffix(name, ".tmp")
}
