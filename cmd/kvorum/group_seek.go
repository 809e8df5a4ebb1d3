package main

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kvorum/admin"
)

// seekFlags are those of group seek; their names are rpk's.
type seekFlags struct {
	to, toGroup, toFile string
	topics              []string
	dryRun              bool
	out                 output
}

func groupSeek(flags *brokerFlags) *cobra.Command {
	var f seekFlags
	cmd := &cobra.Command{
		Use: "seek GROUP", Short: "Move a group's committed offsets", Args: cobra.ExactArgs(1),
		Long: "Seek commits other offsets for a group without members. --to is start, end, N, +N, -N,\n" +
			"@TIMESTAMP, or a number of milliseconds since 1970 with @ before it; --to-group takes over\n" +
			"another group's offsets; --to-file reads lines of TOPIC,PARTITION,OFFSET.",
		Example: "  kvorum group seek billing --to start --dry-run\n" +
			"  kvorum group seek billing --to @2026-01-31T12:00 --topics orders\n" +
			"  kvorum group seek billing --to-group audit\n" +
			"  kvorum group seek billing --to-file offsets.csv",
		RunE: func(cmd *cobra.Command, args []string) error {
			to, err := f.target()
			if err != nil {
				return err
			}
			return flags.cluster(cmd, func(ctx context.Context, c *admin.Cluster) error { return f.run(ctx, cmd, c, args[0], to) })
		},
	}
	cmd.Flags().StringVar(&f.to, "to", "", "start, end, N, +N, -N or @TIMESTAMP")
	cmd.Flags().StringVar(&f.toGroup, "to-group", "", "group whose offsets are taken over")
	cmd.Flags().StringVar(&f.toFile, "to-file", "", "file of lines TOPIC,PARTITION,OFFSET")
	cmd.Flags().StringSliceVar(&f.topics, "topics", nil, "topics, separated by commas (default: those with committed offsets)")
	cmd.MarkFlagsMutuallyExclusive("to", "to-group", "to-file")
	cmd.MarkFlagsOneRequired("to", "to-group", "to-file")
	addDryRun(cmd, &f.dryRun)
	f.out.add(cmd)
	return cmd
}

func (f *seekFlags) target() (admin.SeekTo, error) {
	switch {
	case f.toGroup != "":
		return admin.SeekTo{Group: f.toGroup}, nil
	case f.toFile != "":
		listed, err := readOffsets(f.toFile)
		return admin.SeekTo{Listed: listed}, err
	}
	at, err := admin.ParseOffsetAt(f.to, time.Now())
	if err != nil {
		return admin.SeekTo{}, usageError("--to: " + err.Error())
	}
	return admin.SeekTo{At: &at}, nil
}

func (f *seekFlags) run(ctx context.Context, cmd *cobra.Command, c *admin.Cluster, group string, to admin.SeekTo) error {
	plan, err := c.PlanSeek(ctx, group, f.topics, to)
	if err != nil {
		return err
	}
	if !f.dryRun {
		if err := c.Seek(ctx, group, plan); err != nil {
			return err
		}
	}
	rows := [][]string{{"TOPIC", "PARTITION", "OLD", "NEW"}}
	for _, s := range plan {
		rows = append(rows, []string{s.Topic, strconv.Itoa(int(s.Partition)), known(s.Old), known(s.New)})
	}
	return f.out.print(cmd, plan, rows)
}

// readOffsets reads a file of TOPIC,PARTITION,OFFSET, which is also what Apache's
// consumer-groups tool writes and reads.
func readOffsets(path string) (map[string]map[int32]int64, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	offsets := map[string]map[int32]int64{}
	lines := csv.NewReader(file)
	lines.FieldsPerRecord, lines.TrimLeadingSpace, lines.Comment = 3, true, '#'
	for {
		fields, err := lines.Read()
		if errors.Is(err, io.EOF) {
			return offsets, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		partition, errP := strconv.ParseInt(fields[1], 10, 32)
		offset, errO := strconv.ParseInt(fields[2], 10, 64)
		if errP != nil || errO != nil || partition < 0 || offset < 0 {
			line, _ := lines.FieldPos(0)
			return nil, fmt.Errorf("%s: line %d, %q, is not TOPIC,PARTITION,OFFSET", path, line, strings.Join(fields, ","))
		}
		if offsets[fields[0]] == nil {
			offsets[fields[0]] = map[int32]int64{}
		}
		offsets[fields[0]][int32(partition)] = offset
	}
}
