package security

import (
	"iter"
	"strings"

	"github.com/tidwall/btree"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
)

// The codes of ResourceType, PatternType, AclOperation and AclPermissionType
// that the rules speak of.
const (
	patternLiteral  int8 = 3
	patternPrefixed int8 = 4

	permissionDeny  int8 = 2
	permissionAllow int8 = 3

	opAll             int8 = 2
	opRead            int8 = 3
	opWrite           int8 = 4
	opDelete          int8 = 6
	opAlter           int8 = 7
	opDescribe        int8 = 8
	opDescribeConfigs int8 = 10
	opAlterConfigs    int8 = 11
)

// wildcard names every resource of a type, or every host.
const wildcard = "*"

// ACLs are the entries of one image, ordered so that those for a resource are
// found without looking at all. A value is immutable and shares its structure
// with the one it was made from: a change costs what the change costs. Make
// one with NewACLs; any number of readers may share it.
type ACLs struct {
	byName *btree.BTreeG[*image.ACL]
}

func lessACL(a, b *image.ACL) bool {
	if a.ResourceType != b.ResourceType {
		return a.ResourceType < b.ResourceType
	}
	if a.ResourceName != b.ResourceName {
		return a.ResourceName < b.ResourceName
	}
	return a.ID.Compare(b.ID) < 0
}

// NewACLs orders the entries of an image.
func NewACLs(entries iter.Seq[*image.ACL]) ACLs {
	tree := btree.NewBTreeGOptions(lessACL, btree.Options{NoLocks: true})
	for entry := range entries {
		tree.Set(entry)
	}
	return ACLs{byName: tree}
}

// Next is the entries after a change of the image.
func (a ACLs) Next(changes iter.Seq[image.Change[image.ACL]]) ACLs {
	next := a.byName
	for change := range changes {
		if next == a.byName {
			next = a.byName.Copy()
		}
		if change.Old != nil {
			next.Delete(change.Old)
		}
		if change.New != nil {
			next.Set(change.New)
		}
	}
	return ACLs{byName: next}
}

// Len is the number of entries.
func (a ACLs) Len() int { return a.byName.Len() }

// on yields the entries whose pattern matches a resource: literally, by
// prefix, or as the wildcard. Entries are ordered by name, so it goes down
// from the resource's own name, and jumps past what is no prefix of it
// (StandardAuthorizerData.checkSection). Apache's search does not find the
// wildcard for a name that itself begins with an asterisk, such as a group
// "*x", so that a denial of "*" leaves a gap there; here the wildcard is every
// name.
func (a ACLs) on(resourceType int8, name string) iter.Seq[*image.ACL] {
	return func(yield func(*image.ACL) bool) {
		stopped := false
		pivot := &image.ACL{ResourceType: resourceType, ResourceName: name, ID: highestID}
		for pivot != nil && !stopped {
			from := pivot
			pivot = nil
			a.byName.Descend(from, func(entry *image.ACL) bool {
				switch {
				case entry.ResourceType != resourceType:
					return false
				case !strings.HasPrefix(name, entry.ResourceName):
					pivot = &image.ACL{ResourceType: resourceType, ResourceName: sharedPrefix(name, entry.ResourceName), ID: highestID}
					return false
				case entry.ResourceName == name || entry.PatternType == patternPrefixed:
					stopped = !yield(entry)
				}
				return !stopped
			})
		}
		if stopped || name == wildcard {
			return
		}
		for entry := range a.wildcards(resourceType) {
			if !yield(entry) {
				return
			}
		}
	}
}

// wildcards yields the entries for every resource of a type.
func (a ACLs) wildcards(resourceType int8) iter.Seq[*image.ACL] {
	return func(yield func(*image.ACL) bool) {
		pivot := &image.ACL{ResourceType: resourceType, ResourceName: wildcard}
		a.byName.Ascend(pivot, func(entry *image.ACL) bool {
			if entry.ResourceType != resourceType || entry.ResourceName != wildcard {
				return false
			}
			return entry.PatternType != patternLiteral || yield(entry)
		})
	}
}

// of yields the entries of a resource type.
func (a ACLs) of(resourceType int8) iter.Seq[*image.ACL] {
	return func(yield func(*image.ACL) bool) {
		a.byName.Ascend(&image.ACL{ResourceType: resourceType}, func(entry *image.ACL) bool {
			return entry.ResourceType == resourceType && yield(entry)
		})
	}
}

// highestID comes after every id, and so after every entry of a name.
var highestID = func() (id kafka.UUID) {
	for i := range id {
		id[i] = 0xff
	}
	return id
}()

func sharedPrefix(a, b string) string {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return a[:i]
		}
	}
	return a[:n]
}
