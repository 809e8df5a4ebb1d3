package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"kvorum/admin"
)

// produceFlags are those of topic produce; their names are rpk's.
type produceFlags struct {
	produce   admin.Produce
	format    string
	written   string
	file      string
	key       string
	headers   []string
	tombstone bool
}

func topicProduce(flags *brokerFlags) *cobra.Command {
	var f produceFlags
	cmd := &cobra.Command{
		Use: "produce TOPIC", Short: "Write records to a topic, by default one for each line of the input", Args: cobra.MaximumNArgs(1),
		Long: "Produce writes what it reads from its input, and prints where each record is once it is\n" +
			"acknowledged. It ends with 1 at the first record that is not. With --acks all a record is\n" +
			"written once, also when an answer was lost on its way. Formats are those of rpk:\n" + formatHelp + ".",
		Example: "  kvorum topic produce orders -k customer-7 -H source=shop < lines.txt\n" +
			"  kvorum topic produce orders --file lines.txt -o ''\n" +
			"  echo hello | kvorum topic produce orders\n" +
			"  kvorum topic produce orders -f '%k %v\\n' -z zstd < keyed.txt\n" +
			"  kvorum topic produce -f '%t %v\\n' --partition 0 -o '%p:%o\\n' < several-topics.txt",
		RunE: func(cmd *cobra.Command, names []string) error {
			f.produce.Topic = strings.Join(names, "")
			return flags.cluster(cmd, func(ctx context.Context, c *admin.Cluster) error { return f.run(ctx, cmd, c) })
		},
	}
	cmd.Flags().StringVarP(&f.format, "format", "f", "%v\\n", "how records are read from the input")
	cmd.Flags().StringVarP(&f.written, "output-format", "o", "Produced to partition %p at offset %o with timestamp %d.\\n", "what is printed for each record, or json")
	cmd.Flags().StringVar(&f.file, "file", "", "file to read in the place of the input")
	cmd.Flags().StringVarP(&f.key, "key", "k", "", "key of every record; a key of the format goes before it")
	cmd.Flags().StringArrayVarP(&f.headers, "header", "H", nil, "KEY=VALUE or KEY:VALUE of every record; may be given more than once")
	cmd.Flags().Int32VarP(&f.produce.Partition, "partition", "p", -1, "partition of every record; -1 lets the key choose as Java's clients do")
	cmd.Flags().StringVarP(&f.produce.Compression, "compression", "z", "none", "none, gzip, snappy, lz4 or zstd")
	cmd.Flags().StringVar(&f.produce.Acks, "acks", "all", "all, leader or none: whose acknowledgement is waited for")
	cmd.Flags().Int64Var(&f.produce.MaxBytes, "max-message-bytes", 1<<20, "largest record")
	cmd.Flags().BoolVarP(&f.tombstone, "tombstone", "Z", false, "an empty value is null, which deletes the key of a compacted topic")
	cmd.Flags().BoolVar(&f.produce.CreateTopics, "allow-auto-topic-creation", false, "let the broker make a topic that is not there")
	return cmd
}

func (f *produceFlags) run(ctx context.Context, cmd *cobra.Command, c *admin.Cluster) error {
	in := cmd.InOrStdin()
	if f.file != "" {
		file, err := os.Open(f.file)
		if err != nil {
			return err
		}
		defer file.Close()
		in = file
	}
	next, err := f.reader(in)
	if err != nil {
		return err
	}
	format, err := recordFormat("--output-format", f.written)
	if err != nil {
		return err
	}
	var line []byte
	var records, size int64
	p := newProgress(cmd)
	p.terminal = p.terminal && !isTerminal(cmd.OutOrStdout()) // the lines of records would be written over
	defer p.end()
	return c.Produce(ctx, &f.produce, next, func(r *kgo.Record) error {
		records++
		size += int64(len(r.Key) + len(r.Value))
		p.say("%d records acknowledged, %s", records, bytesText(size))
		var err error
		if line, err = format(line[:0], &kgo.FetchPartition{}, r); err != nil {
			return err
		}
		_, err = cmd.OutOrStdout().Write(line)
		return err
	})
}

// reader reads records from the input and completes them by the flags.
func (f *produceFlags) reader(from io.Reader) (func() (*kgo.Record, error), error) {
	headers, err := recordHeaders(f.headers)
	if err != nil {
		return nil, err
	}
	in, err := kgo.NewRecordReader(f.input(from), f.format)
	if err != nil {
		return nil, usageError("--format: " + err.Error())
	}
	if f.produce.Topic == "" && !strings.Contains(f.format, "%t") {
		return nil, usageError("name the topic, or read it from the input by %t in --format")
	}
	return func() (*kgo.Record, error) {
		r, err := in.ReadRecord()
		if err != nil {
			return nil, err
		}
		if f.key != "" && len(r.Key) == 0 {
			r.Key = []byte(f.key)
		}
		if len(r.Key) == 0 && !strings.Contains(f.format, "%k") {
			r.Key = nil
		}
		if f.tombstone && len(r.Value) == 0 {
			r.Value = nil
		} else if r.Value == nil {
			r.Value = []byte{}
		}
		r.Headers = append(r.Headers, headers...)
		return r, nil
	}, nil
}

// input ends the last line of in, where records end with lines.
func (f *produceFlags) input(in io.Reader) io.Reader {
	if !strings.HasSuffix(f.format, "\\n") && !strings.HasSuffix(f.format, "\n") {
		return in
	}
	return &lastLine{from: in, ended: true}
}

// lastLine adds the end of the last line where it is missing.
type lastLine struct {
	from  io.Reader
	ended bool // the last byte was a line's end
}

func (l *lastLine) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, err := l.from.Read(p)
	if n > 0 {
		l.ended = p[n-1] == '\n'
		return n, nil // an error comes again
	}
	if errors.Is(err, io.EOF) && !l.ended {
		p[0], l.ended = '\n', true
		return 1, nil
	}
	return 0, err
}

func recordHeaders(items []string) ([]kgo.RecordHeader, error) {
	var headers []kgo.RecordHeader
	for _, item := range items {
		i := strings.IndexAny(item, "=:")
		if i <= 0 {
			return nil, usageError(fmt.Sprintf("--header %q is not KEY=VALUE", item))
		}
		headers = append(headers, kgo.RecordHeader{Key: item[:i], Value: []byte(item[i+1:])})
	}
	return headers, nil
}
