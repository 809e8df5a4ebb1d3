package znode

import (
	"errors"
	"fmt"
	"strconv"

	"kvorum/internal/kafka"
)

// Versioned is a value and the version of the node that it was read from, by which
// a later write can tell whether the node has changed.
type Versioned[T any] struct {
	Value   T
	Version int32
}

// Snapshot is everything of a cluster that ZooKeeper holds, as typed values.
// Pointers are nil and strings empty for nodes that do not exist.
type Snapshot struct {
	ClusterID       string
	Controller      *Versioned[Controller]
	ControllerEpoch *Versioned[kafka.LeaderEpoch]
	Migration       *Versioned[Migration]
	Feature         *Feature
	ProducerIDs     *Versioned[ProducerIDBlock]

	Brokers []Broker // those that live, by id as text
	Topics  []TopicNode

	BrokerConfigs []ConfigNode // Name is "" for the cluster-wide default
	// Users, Clients, UserClients and IPs hold quotas, and Users SCRAM credentials.
	Users, Clients, UserClients, IPs []ConfigNode

	ACLs   []ACLs
	Tokens []Token

	// What was asked for through ZooKeeper and is not done yet. Topics that are to
	// be deleted are in Deletions and not in Topics.
	Deletions   []string
	Moves       []Move
	Elections   []Move
	ISRChanges  int
	LogDirFails int

	// Problems are the nodes that could not be read, and those that nobody reads.
	Problems []Problem
}

// TopicNode is a topic with its configuration and the states of its partitions.
type TopicNode struct {
	Topic
	Config map[string]string
	States map[kafka.PartitionID]State
}

// State is the state of a partition and its epoch, the version of the node. For a
// partition that no controller has started yet there is no node; Found is false,
// and the state is the one that Apache's migration assumes: all replicas in sync,
// the first one leads, every epoch 0.
type State struct {
	PartitionState
	Epoch kafka.PartitionEpoch
	Found bool
}

// ConfigNode is a node below /config.
type ConfigNode struct {
	Path string
	// Name is the entity's name, and Client the client's in UserClients. "" is the
	// default entity; no other entity has an empty name.
	Name, Client string
	Config       map[string]string
}

// Severity says what a problem means for a migration.
type Severity int8

const (
	// Blocking problems stop a migration: metadata would be lost or made up.
	Blocking Severity = iota
	// Orphan nodes belong to nothing: Apache's controllers do not read them
	// either, and they are not converted.
	Orphan
)

// String names the severity for people and JSON.
func (s Severity) String() string {
	if s == Orphan {
		return "orphan"
	}
	return "blocking"
}

// Problem is a node that was not converted, and why.
type Problem struct {
	Path     string
	Severity Severity
	Err      error
}

// Error is the problem in one line, path first.
func (p Problem) Error() string { return p.Path + ": " + p.Err.Error() }

// Unwrap returns the cause.
func (p Problem) Unwrap() error { return p.Err }

// Blocking joins the problems that stop a migration, nil if there are none. More
// than ten are counted and not told.
func (s *Snapshot) Blocking() error {
	var list []error
	more := 0
	for _, p := range s.Problems {
		switch {
		case p.Severity != Blocking:
		case len(list) == 10:
			more++
		default:
			list = append(list, p)
		}
	}
	if more > 0 {
		list = append(list, fmt.Errorf("and %d nodes more", more))
	}
	return errors.Join(list...)
}

// Decode reads a tree. It never fails: what cannot be read is in Problems, each
// with its path, and the rest is in the snapshot.
func Decode(t *Tree) *Snapshot {
	d := &decoder{t: t, s: &Snapshot{}, entities: map[[3]string]string{}}
	d.cluster()
	d.brokers()
	d.topics()
	d.configs()
	d.acls()
	d.tokens()
	d.requests()
	return d.s
}

// decoder walks a tree; its methods are the parts of Decode.
type decoder struct {
	t        *Tree
	s        *Snapshot
	entities map[[3]string]string // the paths of users, clients, addresses and brokers, by what they are of
}

func (d *decoder) problem(path string, severity Severity, err error) {
	d.s.Problems = append(d.s.Problems, Problem{path, severity, err})
}

// read decodes one node if it exists, and keeps its problem if it cannot be read.
func read[T any](d *decoder, path string, decode func([]byte) (T, error)) *Versioned[T] {
	n, ok := d.t.Get(path)
	if !ok {
		return nil
	}
	v, err := decode(n.Data)
	if err != nil {
		d.problem(path, Blocking, err)
		return nil
	}
	return &Versioned[T]{v, n.Version}
}

func (d *decoder) cluster() {
	if v := read(d, ClusterIDPath, DecodeClusterID); v != nil {
		d.s.ClusterID = v.Value
	}
	d.s.Controller = read(d, ControllerPath, DecodeController)
	d.s.ControllerEpoch = read(d, ControllerEpochPath, DecodeControllerEpoch)
	d.s.Migration = read(d, MigrationPath, DecodeMigration)
	if v := read(d, FeaturePath, DecodeFeature); v != nil {
		d.s.Feature = &v.Value
	}
	if v := read(d, ProducerIDBlockPath, DecodeProducerIDBlock); v != nil && v.Value != nil {
		d.s.ProducerIDs = &Versioned[ProducerIDBlock]{*v.Value, v.Version}
	}
}

func (d *decoder) brokers() {
	for _, name := range d.t.Children(BrokerIDsPath) {
		path := BrokerIDsPath + "/" + name
		id, err := brokerID(name)
		if err != nil {
			d.problem(path, Blocking, err)
			continue
		}
		decode := func(data []byte) (Broker, error) { return DecodeBroker(id, data) }
		if v := read(d, path, decode); v != nil {
			if n, ok := d.t.Get(path); ok {
				v.Value.CreatedMs = n.CreatedMs
			}
			d.s.Brokers = append(d.s.Brokers, v.Value)
		}
	}
}

func brokerID(name string) (kafka.BrokerID, error) {
	v, err := strconv.ParseInt(name, 10, 32)
	if err != nil || v < 0 {
		return 0, fmt.Errorf("%q is no broker id", shorten([]byte(name)))
	}
	return kafka.BrokerID(v), nil
}

// tokens reads the delegation tokens.
func (d *decoder) tokens() {
	for _, name := range d.t.Children(TokensPath) {
		path := TokensPath + "/" + name
		v := read(d, path, DecodeToken)
		switch {
		case v == nil:
		case v.Value.ID != name:
			d.problem(path, Blocking, fmt.Errorf("the node holds the token %q", shorten([]byte(v.Value.ID))))
		default:
			d.s.Tokens = append(d.s.Tokens, v.Value)
		}
	}
}

// acls reads the rules of every pattern and type, in Apache's order of types.
func (d *decoder) acls() {
	for _, pattern := range PatternTypes {
		for _, name := range d.t.Children(aclRoot(pattern)) {
			if _, err := ParseResourceType(name); err != nil {
				d.problem(aclRoot(pattern)+"/"+name, Blocking, err)
			}
		}
	}
	for _, name := range d.t.Children(ExtendedACLsPath) {
		if path := ExtendedACLsPath + "/" + name; path != PrefixedACLsPath {
			d.problem(path, Blocking, fmt.Errorf("%q is no pattern type: prefixed is known", shorten([]byte(name))))
		}
	}
	for _, kind := range ResourceTypes {
		for _, pattern := range PatternTypes {
			for _, name := range d.t.Children(aclRoot(pattern) + "/" + kind.String()) {
				if v := read(d, ACLPath(pattern, kind, name), DecodeACLs); v != nil && len(v.Value) > 0 {
					d.s.ACLs = append(d.s.ACLs, ACLs{Pattern: pattern, Type: kind, Name: name, Entries: v.Value})
				}
			}
		}
	}
}

// requests reads what was asked for through ZooKeeper.
func (d *decoder) requests() {
	for path, into := range map[string]*[]Move{ReassignmentsPath: &d.s.Moves, PreferredElectionPath: &d.s.Elections} {
		if n, ok := d.t.Get(path); !ok || isEmptyObject(n.Data) {
			continue
		}
		if v := read(d, path, DecodeReassignments); v != nil {
			*into = v.Value
		}
	}
	d.s.ISRChanges = len(d.t.Children(ISRChangesPath))
	d.s.LogDirFails = len(d.t.Children(LogDirEventsPath))
}
