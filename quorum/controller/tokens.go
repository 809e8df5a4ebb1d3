package controller

import (
	"crypto/hmac"
	"crypto/sha512"
	"math"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/protocol/errors"
)

// noTokenTime stands for an expiry that a refused request does not have.
const noTokenTime = -1

// tokenHMAC is the password of a token: HMAC-SHA512 of its id under the
// cluster's secret. It is derived, never stored.
func tokenHMAC(secret []byte, tokenID string) []byte {
	return keyedHash(sha512.New, secret, tokenID)
}

// tokensEnabled is what every token request is refused for first
// (DelegationTokenControlManager).
func tokensEnabled(in Input) *errors.Error {
	switch {
	case !in.Caller.MayUseTokens:
		return bare(errors.DelegationTokenRequestNotAllowed)
	case in.Settings.DelegationTokenSecret == nil:
		return bare(errors.DelegationTokenAuthDisabled)
	case in.Image.MetadataVersion().Before(image.MV36IV2):
		return bare(errors.UnsupportedVersion)
	}
	return nil
}

// CreateDelegationToken decides CreateDelegationToken (key 38, versions 1 to 3).
// Anyone may create a token for himself (KIP-48, KIP-373).
func CreateDelegationToken(in Input, req *kmsg.CreateDelegationTokenRequest) (Decision, *kmsg.CreateDelegationTokenResponse) {
	res := req.ResponseKind().(*kmsg.CreateDelegationTokenResponse)
	owner := in.Caller.Principal
	if req.OwnerPrincipalName != nil && *req.OwnerPrincipalName != "" {
		kind := ""
		if req.OwnerPrincipalType != nil {
			kind = *req.OwnerPrincipalType
		}
		owner = kind + ":" + *req.OwnerPrincipalName
	}
	res.PrincipalType, res.PrincipalName = splitPrincipal(owner)
	res.TokenRequesterPrincipalType, res.TokenRequesterPrincipalName = splitPrincipal(in.Caller.Principal)
	res.IssueTimestamp, res.ExpiryTimestamp, res.MaxTimestamp = noTokenTime, noTokenTime, noTokenTime
	res.HMAC = []byte{}
	token, err := newToken(in, owner, req)
	if err != nil {
		res.ErrorCode = int16(err.Code)
		return Decision{}, res
	}
	res.IssueTimestamp, res.ExpiryTimestamp, res.MaxTimestamp = token.IssueTimestamp, token.ExpirationTimestamp, token.MaxTimestamp
	res.TokenID, res.HMAC = token.TokenID, tokenHMAC(in.Settings.DelegationTokenSecret, token.TokenID)
	return Decision{Records: []record.Message{message(token)}, Atomic: true}, res
}

// newToken is the record of a token for owner, or why there is none.
func newToken(in Input, owner string, req *kmsg.CreateDelegationTokenRequest) (*record.DelegationTokenRecord, *errors.Error) {
	if !in.Caller.MayUseTokens {
		return nil, bare(errors.DelegationTokenRequestNotAllowed)
	}
	if owner != in.Caller.Principal && !in.Caller.may(opCreateTokens, resourceUser, owner) {
		return nil, bare(errors.DelegationTokenAuthorizationFailed)
	}
	if err := tokensEnabled(in); err != nil {
		return nil, err
	}
	token := &record.DelegationTokenRecord{Owner: owner, Requester: in.Caller.Principal, IssueTimestamp: in.NowMs}
	for _, r := range req.Renewers {
		if r.PrincipalType != "User" {
			return nil, bare(errors.InvalidPrincipalType)
		}
		token.Renewers = append(token.Renewers, r.PrincipalType+":"+r.PrincipalName)
	}
	life := in.Settings.DelegationTokenMaxMs
	if req.MaxLifetimeMillis > 0 {
		life = min(life, req.MaxLifetimeMillis)
	}
	token.MaxTimestamp = addMs(in.NowMs, life)
	token.ExpirationTimestamp = min(token.MaxTimestamp, addMs(in.NowMs, in.Settings.DelegationTokenExpiryMs))
	token.TokenID = randomUUID(in.Rand).String()
	return token, nil
}

// addMs adds two times without running over.
func addMs(now, duration int64) int64 {
	if duration > 0 && now > math.MaxInt64-duration {
		return math.MaxInt64
	}
	return now + duration
}

// RenewDelegationToken decides RenewDelegationToken (key 39, versions 1 and 2).
func RenewDelegationToken(in Input, req *kmsg.RenewDelegationTokenRequest) (Decision, *kmsg.RenewDelegationTokenResponse) {
	res := req.ResponseKind().(*kmsg.RenewDelegationTokenResponse)
	res.ExpiryTimestamp = noTokenTime
	token, err := findToken(in, req.HMAC)
	switch {
	case err != nil:
	case tokenExpired(token, in.NowMs):
		err = bare(errors.DelegationTokenExpired)
	case !mayRenew(token, in.Caller.Principal):
		err = bare(errors.DelegationTokenOwnerMismatch)
	}
	if err != nil {
		res.ErrorCode = int16(err.Code)
		return Decision{}, res
	}
	life := in.Settings.DelegationTokenExpiryMs
	if req.RenewTimeMillis > 0 {
		life = min(life, req.RenewTimeMillis)
	}
	res.ExpiryTimestamp = min(token.MaxTimestamp, addMs(in.NowMs, life))
	return Decision{Records: []record.Message{tokenUntil(token, res.ExpiryTimestamp)}, Atomic: true}, res
}

// ExpireDelegationToken decides ExpireDelegationToken (key 40, versions 1 and
// 2): a negative period removes the token, any other sets its expiry.
func ExpireDelegationToken(in Input, req *kmsg.ExpireDelegationTokenRequest) (Decision, *kmsg.ExpireDelegationTokenResponse) {
	res := req.ResponseKind().(*kmsg.ExpireDelegationTokenResponse)
	res.ExpiryTimestamp = noTokenTime
	token, err := findToken(in, req.HMAC)
	switch {
	case err != nil:
	case !mayRenew(token, in.Caller.Principal):
		err = bare(errors.DelegationTokenOwnerMismatch)
	case req.ExpiryPeriodMillis >= 0 && tokenExpired(token, in.NowMs):
		err = bare(errors.DelegationTokenExpired)
	}
	if err != nil {
		res.ErrorCode = int16(err.Code)
		return Decision{}, res
	}
	if req.ExpiryPeriodMillis < 0 {
		res.ExpiryTimestamp = in.NowMs
		return Decision{Records: []record.Message{tokenRemoval(token)}, Atomic: true}, res
	}
	res.ExpiryTimestamp = min(token.MaxTimestamp, addMs(in.NowMs, req.ExpiryPeriodMillis))
	return Decision{Records: []record.Message{tokenUntil(token, res.ExpiryTimestamp)}, Atomic: true}, res
}

// findToken finds the token with this password. Tokens are few and their
// requests rare, so every token's password is derived and compared.
func findToken(in Input, mac []byte) (*image.DelegationToken, *errors.Error) {
	if err := tokensEnabled(in); err != nil {
		return nil, err
	}
	for token := range in.Image.DelegationTokens() {
		if hmac.Equal(mac, tokenHMAC(in.Settings.DelegationTokenSecret, token.TokenID)) {
			return token, nil
		}
	}
	return nil, bare(errors.DelegationTokenNotFound)
}

func mayRenew(token *image.DelegationToken, principal string) bool {
	return token.Owner == principal || slices.Contains(token.Renewers, principal)
}

func tokenExpired(token *image.DelegationToken, nowMs int64) bool {
	return token.MaxTimestamp < nowMs || token.ExpirationTimestamp < nowMs
}

// tokenUntil writes a token again with another expiry.
func tokenUntil(t *image.DelegationToken, expiryMs int64) record.Message {
	return message(&record.DelegationTokenRecord{
		Owner: t.Owner, Requester: t.Requester, Renewers: t.Renewers, TokenID: t.TokenID,
		IssueTimestamp: t.IssueTimestamp, MaxTimestamp: t.MaxTimestamp, ExpirationTimestamp: expiryMs,
	})
}

func tokenRemoval(t *image.DelegationToken) record.Message {
	return message(&record.RemoveDelegationTokenRecord{TokenID: t.TokenID})
}

// ExpireTokens removes the tokens that have expired. The loop calls it from
// time to time (delegation.token.expiry.check.interval.ms); until then an
// expired token is refused where it is used.
func ExpireTokens(in Input) Decision {
	var d Decision
	for token := range in.Image.DelegationTokens() {
		if tokenExpired(token, in.NowMs) {
			d.Records = append(d.Records, tokenRemoval(token))
		}
	}
	return d
}

// splitPrincipal takes "Type:name" apart.
func splitPrincipal(principal string) (kind, name string) {
	kind, name, _ = strings.Cut(principal, ":")
	return kind, name
}

// DescribeDelegationToken answers DescribeDelegationToken (key 41, versions 1 to
// 3) from the image: one's own tokens, those one may renew, and those that one
// is authorised to see (DelegationTokenManager.filterToken). Null owners mean
// all owners, none mean nothing.
func DescribeDelegationToken(in Input, req *kmsg.DescribeDelegationTokenRequest) *kmsg.DescribeDelegationTokenResponse {
	res := req.ResponseKind().(*kmsg.DescribeDelegationTokenResponse)
	switch {
	case !in.Caller.MayUseTokens:
		res.ErrorCode = int16(errors.DelegationTokenRequestNotAllowed)
		return res
	case in.Settings.DelegationTokenSecret == nil:
		res.ErrorCode = int16(errors.DelegationTokenAuthDisabled)
		return res
	}
	for token := range in.Image.DelegationTokens() {
		if askedForToken(req, token) && maySeeToken(in.Caller, token) {
			res.TokenDetails = append(res.TokenDetails, describedToken(in.Settings.DelegationTokenSecret, token))
		}
	}
	return res
}

func askedForToken(req *kmsg.DescribeDelegationTokenRequest, t *image.DelegationToken) bool {
	return req.Owners == nil || slices.ContainsFunc(req.Owners, func(o kmsg.DescribeDelegationTokenRequestOwner) bool {
		return belongsTo(t, o.PrincipalType+":"+o.PrincipalName)
	})
}

// belongsTo is TokenInformation.ownerOrRenewer, which means the requester too.
func belongsTo(t *image.DelegationToken, principal string) bool {
	return mayRenew(t, principal) || t.Requester == principal
}

func maySeeToken(c Caller, t *image.DelegationToken) bool {
	return belongsTo(t, c.Principal) ||
		c.may(opDescribe, resourceDelegationToken, t.TokenID) ||
		c.may(opDescribeTokens, resourceUser, t.Owner)
}

func describedToken(secret []byte, t *image.DelegationToken) kmsg.DescribeDelegationTokenResponseTokenDetail {
	d := kmsg.NewDescribeDelegationTokenResponseTokenDetail()
	d.PrincipalType, d.PrincipalName = splitPrincipal(t.Owner)
	d.TokenRequesterPrincipalType, d.TokenRequesterPrincipalName = splitPrincipal(t.Requester)
	d.IssueTimestamp, d.ExpiryTimestamp, d.MaxTimestamp = t.IssueTimestamp, t.ExpirationTimestamp, t.MaxTimestamp
	d.TokenID, d.HMAC = t.TokenID, tokenHMAC(secret, t.TokenID)
	for _, renewer := range t.Renewers {
		r := kmsg.NewDescribeDelegationTokenResponseTokenDetailRenewer()
		r.PrincipalType, r.PrincipalName = splitPrincipal(renewer)
		d.Renewers = append(d.Renewers, r)
	}
	return d
}
