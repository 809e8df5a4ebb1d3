package config

import (
	"regexp"
	"strconv"
	"strings"
)

// offsetReset is ShareGroupAutoOffsetResetStrategy.Validator: earliest,
// latest, or by_duration: with an ISO 8601 duration that is not negative.
type offsetReset struct{}

func (offsetReset) check(name string, v Value) *Error {
	if v.Text == "earliest" || v.Text == "latest" {
		return nil
	}
	if rest, ok := strings.CutPrefix(v.Text, "by_duration:"); ok && notNegativeDuration(rest) {
		return nil
	}
	return invalidValue(name, v.Text, "Invalid value `"+v.Text+"` for configuration "+name+
		". The value must be either 'earliest', 'latest' or of the format 'by_duration:<PnDTnHnMn.nS>'.")
}

func (offsetReset) String() string { return "[latest, earliest, by_duration:PnDTnHnMn.nS]" }

// isoDuration is the grammar of Java's Duration.parse.
var isoDuration = regexp.MustCompile(
	`(?i)^([-+]?)P(?:([-+]?[0-9]+)D)?(T(?:([-+]?[0-9]+)H)?(?:([-+]?[0-9]+)M)?(?:([-+]?[0-9]+)(?:[.,]([0-9]{0,9}))?S)?)?$`)

func notNegativeDuration(s string) bool {
	m := isoDuration.FindStringSubmatch(s)
	if m == nil || strings.EqualFold(m[3], "T") || m[2] == "" && m[3] == "" {
		return false
	}
	var nanos float64 // only its sign and rough size matter
	for i, seconds := range map[int]float64{2: 86400, 4: 3600, 5: 60, 6: 1} {
		if m[i] == "" {
			continue
		}
		n, err := strconv.ParseInt(m[i], 10, 64)
		if err != nil {
			return false
		}
		nanos += float64(n) * seconds * 1e9
	}
	if fraction, err := strconv.ParseFloat("0."+m[7], 64); err == nil {
		if strings.HasPrefix(m[6], "-") {
			fraction = -fraction
		}
		nanos += fraction * 1e9
	}
	if m[1] == "-" {
		nanos = -nanos
	}
	const longest = 9.2e18 * 1e9 // Java counts seconds in 64 bits
	return nanos >= 0 && nanos < longest
}
