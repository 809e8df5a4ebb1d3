package convert

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"kvorum/migration/znode"
)

// hidden stands for a secret in what is shown.
const hidden = "(hidden)"

// Meaning is what the data of a node says, in one spelling: nodes that mean the same
// to Kafka have one text, whoever wrote them. Sets are sorted, numbers written in one
// way, passwords decrypted with the brokers' secret; the controller epoch of a
// partition's state is left out. "" is for a node that says nothing, such as an
// empty configuration. show puts a word in the place of secrets, so that the text may
// be printed.
func Meaning(path string, data []byte, secret string, show bool) (string, error) {
	switch {
	case len(data) == 0:
		return "", nil
	case strings.HasPrefix(path, "/config/"):
		return configMeaning(path, data, secret, show)
	case path == znode.ProducerIDBlockPath:
		b, err := znode.DecodeProducerIDBlock(data)
		if err != nil || b == nil {
			return "", err
		}
		return fmt.Sprint("producer ids up to ", b.End), nil
	case strings.HasPrefix(path, znode.TokensPath+"/"):
		t, err := znode.DecodeToken(data)
		if err != nil {
			return "", err
		}
		return string(t.Encode()), nil
	case strings.HasPrefix(path, znode.TopicsPath+"/") && znode.Parent(path) == znode.TopicsPath:
		return topicMeaning(path, data)
	case strings.HasPrefix(path, znode.TopicsPath+"/"):
		s, err := znode.DecodePartitionState(data)
		if err != nil {
			return "", err
		}
		s.ControllerEpoch = 0
		slices.Sort(s.ISR)
		return string(s.Encode()), nil
	}
	entries, err := znode.DecodeACLs(data)
	if err != nil {
		return "", err
	}
	sortEntries(entries)
	a := znode.ACLs{Entries: slices.Compact(entries)}
	return string(a.Encode()), nil
}

func topicMeaning(path string, data []byte) (string, error) {
	t, err := znode.DecodeTopic(znode.Base(path), data)
	if err != nil {
		return "", err
	}
	for _, a := range t.Partitions {
		slices.Sort(a.Adding)
		slices.Sort(a.Removing)
	}
	return string(t.Encode()), nil
}

// configMeaning is for topics, brokers, users, clients and addresses alike.
func configMeaning(path string, data []byte, secret string, show bool) (string, error) {
	config, err := znode.DecodeConfig(data)
	if err != nil || len(config) == 0 {
		return "", err
	}
	broker := strings.HasPrefix(path, znode.BrokerConfigsPath+"/")
	for key, value := range config {
		switch {
		case broker && IsPassword(key):
			if value, err = DecodePassword(secret, value); err != nil {
				return "", fmt.Errorf("%s: %w", key, err)
			}
		case key == znode.ScramSHA256, key == znode.ScramSHA512:
		case broker, strings.HasPrefix(path, znode.TopicConfigsPath+"/"):
			continue
		default:
			if v, err := parseQuota(value); err == nil {
				config[key] = strconv.FormatFloat(v, 'g', -1, 64)
			}
			continue
		}
		if config[key] = value; show {
			config[key] = hidden
		}
	}
	return string(znode.EncodeConfig(config)), nil
}

// sortEntries puts the rules of a resource into one order.
func sortEntries(entries []znode.ACLEntry) {
	slices.SortFunc(entries, func(a, b znode.ACLEntry) int {
		return cmp.Or(cmp.Compare(a.Principal, b.Principal), cmp.Compare(a.Operation, b.Operation), cmp.Compare(a.Host, b.Host), cmp.Compare(a.Permission, b.Permission))
	})
}
