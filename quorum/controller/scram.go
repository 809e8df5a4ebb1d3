package controller

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"hash"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/metadatalog/describe"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/protocol/errors"
)

// The bounds of a SCRAM iteration count (ScramMechanism.minIterations,
// ScramControlManager.MAX_ITERATIONS).
const (
	minScramIterations = 4096
	maxScramIterations = 16384
)

// AlterUserScramCredentials decides AlterUserScramCredentials (key 51, version
// 0): a user is altered whole or not at all, and only once in a request, even
// for two mechanisms (ScramControlManager, KIP-554).
func AlterUserScramCredentials(in Input, req *kmsg.AlterUserSCRAMCredentialsRequest) (Decision, *kmsg.AlterUserSCRAMCredentialsResponse) {
	res := req.ResponseKind().(*kmsg.AlterUserSCRAMCredentialsResponse)
	denied := in.Caller.mayCluster(opAlter)
	users, changes := scramChanges(in, req)
	var records []record.Message
	for _, user := range users {
		change, err := changes[user], denied
		if err == nil {
			err = change.err
		}
		if err == nil {
			records = append(records, message(change.record))
		}
		r := kmsg.NewAlterUserSCRAMCredentialsResponseResult()
		r.User = user
		r.ErrorCode, r.ErrorMessage = report(err)
		res.Results = append(res.Results, r)
	}
	return Decision{Records: records, Atomic: true}, res
}

// scramChange is what a request does to one user.
type scramChange struct {
	record record.Record
	err    *errors.Error
}

// scramChanges returns the users of a request in their order, deletions first,
// and what happens to each.
func scramChanges(in Input, req *kmsg.AlterUserSCRAMCredentialsRequest) (users []string, changes map[string]scramChange) {
	changes = make(map[string]scramChange, len(req.Deletions)+len(req.Upsertions))
	add := func(user string, decide func() scramChange) {
		old, again := changes[user]
		switch {
		case !again:
			users = append(users, user)
			changes[user] = decide()
		case old.err == nil: // the first error of a user stands
			changes[user] = scramChange{err: errors.New(errors.DuplicateResource,
				"A user credential cannot be altered twice in the same request")}
		}
	}
	for _, d := range req.Deletions {
		add(d.Name, func() scramChange { return deleteScram(in.Image, d) })
	}
	for _, u := range req.Upsertions {
		add(u.Name, func() scramChange { return upsertScram(in.Image, u) })
	}
	return users, changes
}

func checkScram(im *image.Image, user string, mechanism int8) *errors.Error {
	switch {
	case im.MetadataVersion().Before(image.MV35IV2):
		return errors.New(errors.UnsupportedVersion, "The current metadata.version does not support SCRAM")
	case user == "":
		return errors.New(errors.UnacceptableCredential, "Username must not be empty")
	case scramHash(mechanism) == nil:
		return errors.New(errors.UnsupportedSASLMechanism, "Unknown SCRAM mechanism")
	}
	return nil
}

func deleteScram(im *image.Image, d kmsg.AlterUserSCRAMCredentialsRequestDeletion) scramChange {
	if err := checkScram(im, d.Name, d.Mechanism); err != nil {
		return scramChange{err: err}
	}
	if im.ScramCredential(d.Name, image.ScramMechanism(d.Mechanism)) == nil {
		return scramChange{err: errors.New(errors.ResourceNotFound,
			"Attempt to delete a user credential that does not exist")}
	}
	return scramChange{record: &record.RemoveUserScramCredentialRecord{Name: d.Name, Mechanism: d.Mechanism}}
}

func upsertScram(im *image.Image, u kmsg.AlterUserSCRAMCredentialsRequestUpsertion) scramChange {
	err := checkScram(im, u.Name, u.Mechanism)
	switch {
	case err != nil:
	case u.Iterations < minScramIterations:
		err = errors.New(errors.UnacceptableCredential, "Too few iterations")
	case u.Iterations > maxScramIterations:
		err = errors.New(errors.UnacceptableCredential, "Too many iterations")
	}
	if err != nil {
		return scramChange{err: err}
	}
	newHash := scramHash(u.Mechanism)
	storedKey := newHash()
	storedKey.Write(keyedHash(newHash, u.SaltedPassword, "Client Key"))
	return scramChange{record: &record.UserScramCredentialRecord{
		Name: u.Name, Mechanism: u.Mechanism, Salt: u.Salt, Iterations: u.Iterations,
		StoredKey: storedKey.Sum(nil),
		ServerKey: keyedHash(newHash, u.SaltedPassword, "Server Key"),
	}}
}

// scramHash is the hash of a SCRAM mechanism, nil if the mechanism is unknown.
func scramHash(mechanism int8) func() hash.Hash {
	switch image.ScramMechanism(mechanism) {
	case image.ScramSHA256:
		return sha256.New
	case image.ScramSHA512:
		return sha512.New
	}
	return nil
}

// keyedHash is RFC 5802's HMAC(key, text).
func keyedHash(newHash func() hash.Hash, key []byte, text string) []byte {
	mac := hmac.New(newHash, key)
	mac.Write([]byte(text))
	return mac.Sum(nil)
}

// DescribeUserScramCredentials answers DescribeUserScramCredentials (key 50,
// version 0) from the image.
func DescribeUserScramCredentials(in Input, req *kmsg.DescribeUserSCRAMCredentialsRequest) *kmsg.DescribeUserSCRAMCredentialsResponse {
	if err := in.Caller.mayCluster(opDescribe); err != nil {
		res := req.ResponseKind().(*kmsg.DescribeUserSCRAMCredentialsResponse)
		res.ErrorCode, res.ErrorMessage = report(err)
		return res
	}
	return describe.UserScramCredentials(in.Image, req)
}
