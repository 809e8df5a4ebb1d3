package describe

import (
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/metadatalog/image"
	"kvorum/protocol/errors"
)

// UserScramCredentials answers DescribeUserScramCredentials (key 50, version 0);
// it never shows keys or salts (ScramImage.describe).
func UserScramCredentials(im *image.Image, req *kmsg.DescribeUserSCRAMCredentialsRequest) *kmsg.DescribeUserSCRAMCredentialsResponse {
	res := req.ResponseKind().(*kmsg.DescribeUserSCRAMCredentialsResponse)
	res.ErrorMessage = new(string) // Apache's default, not null
	if len(req.Users) == 0 {
		for _, user := range scramUsers(im) {
			res.Results = append(res.Results, describeScram(im, user, 1))
		}
		return res
	}
	count := make(map[string]int, len(req.Users))
	for _, u := range req.Users {
		count[u.Name]++
	}
	for _, u := range req.Users {
		if n := count[u.Name]; n > 0 {
			count[u.Name] = 0
			res.Results = append(res.Results, describeScram(im, u.Name, n))
		}
	}
	return res
}

// scramUsers are all users with a credential, once each, sorted.
func scramUsers(im *image.Image) []string {
	users := make(map[string]struct{})
	for c := range im.ScramCredentials() {
		users[c.User] = struct{}{}
	}
	return slices.Sorted(maps.Keys(users))
}

func describeScram(im *image.Image, user string, asked int) kmsg.DescribeUserSCRAMCredentialsResponseResult {
	r := kmsg.NewDescribeUserSCRAMCredentialsResponseResult()
	r.User = user
	if asked > 1 {
		r.ErrorCode, r.ErrorMessage = Outcome(errors.New(errors.DuplicateResource,
			"Cannot describe SCRAM credentials for the same user twice in a single request: %s", user))
		return r
	}
	for _, m := range [...]image.ScramMechanism{image.ScramSHA256, image.ScramSHA512} {
		if c := im.ScramCredential(user, m); c != nil {
			info := kmsg.NewDescribeUserSCRAMCredentialsResponseResultCredentialInfo()
			info.Mechanism, info.Iterations = int8(m), c.Iterations
			r.CredentialInfos = append(r.CredentialInfos, info)
		}
	}
	if len(r.CredentialInfos) == 0 {
		r.ErrorCode, r.ErrorMessage = Outcome(errors.New(errors.ResourceNotFound,
			"Attempt to describe a user credential that does not exist: %s", user))
	}
	return r
}
