package engine

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"

	"github.com/tenon-ml/tenon/stdlib/duck"
)

// plainText returns the path of a file with the text of file as UTF-8: file
// itself, or to if it had to be unpacked or converted. Of CSV, shape checks the
// rows, of JSON lines, scan the values. DuckDB would do much of
// that itself, but takes a gzip file that ends early for a whole one, and does
// not look at the bytes of columns that nobody asked for.
func plainText(ctx context.Context, file, enc, to string, shape *csvShape, scan *jsonScan) (path string, err error) {
	f, err := os.Open(file)
	if err != nil {
		return "", fmt.Errorf("%s: %w", file, errors.Unwrap(err))
	}
	defer f.Close()
	in := bufio.NewReaderSize(f, 1<<16)
	r, packed, err := unpack(in)
	if err != nil {
		return "", fmt.Errorf("%s: %w", file, err)
	}
	decoder, err := decoderOf(enc)
	if err != nil {
		return "", err
	}
	if decoder != nil {
		r = decoder.Reader(r)
	}
	path, w := file, io.Discard
	marked := false
	if shape == nil { // DuckDB does not take a byte order mark in JSON
		text := bufio.NewReaderSize(r, 1<<16)
		if b, _ := text.Peek(3); string(b) == "\xef\xbb\xbf" {
			_, err := text.Discard(3)
			if err != nil {
				return "", fmt.Errorf("%s: %w", file, err)
			}
			marked = true
		}
		r = text
	}
	if packed != "" || decoder != nil || marked {
		o, err := os.Create(to)
		if err != nil {
			return "", fmt.Errorf("unpack %s: %w", file, err)
		}
		defer func() { err = errors.Join(err, o.Close()) }()
		path, w = to, o
	}
	c := &textCopy{ctx: ctx, file: file, packed: packed, shape: shape, scan: scan}
	if decoder != nil {
		c.decoded = enc
	}
	if err := c.run(r, w); err != nil {
		return "", err
	}
	return path, nil
}

// unpack returns a reader of the content and the name of the compression.
func unpack(r *bufio.Reader) (io.Reader, string, error) {
	magic, _ := r.Peek(4)
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, "", err
		}
		z.Multistream(false)
		return &gzipMembers{z, r}, "gzip", nil
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, "", err
		}
		return z.IOReadCloser(), "zstd", nil
	}
	return r, "", nil
}

// gzipMembers reads the members of a gzip file one by one, to tell a member that ends early
// from something else behind the last one.
type gzipMembers struct {
	z *gzip.Reader
	r *bufio.Reader
}

var errBehindGzip = errors.New("something else comes after the gzip data; the file may be damaged")

func (g *gzipMembers) Read(b []byte) (int, error) {
	n, err := g.z.Read(b)
	if err != io.EOF {
		return n, err
	}
	next, _ := g.r.Peek(2)
	switch {
	case len(next) == 0:
		return n, io.EOF
	case !bytes.Equal(next, []byte{0x1f, 0x8b}):
		return n, errBehindGzip
	}
	if err := g.z.Reset(g.r); err != nil {
		return n, err
	}
	g.z.Multistream(false)
	return n, nil
}

func decoderOf(name string) (*encoding.Decoder, error) {
	switch strings.ToLower(name) {
	case "", "utf-8", "utf8":
		return nil, nil
	case "latin-1", "latin1", "iso-8859-1":
		return charmap.ISO8859_1.NewDecoder(), nil
	case "windows-1252", "cp1252":
		return charmap.Windows1252.NewDecoder(), nil
	case "utf-16", "utf16":
		return unicode.UTF16(unicode.LittleEndian, unicode.UseBOM).NewDecoder(), nil
	}
	return nil, fmt.Errorf("encoding %q is not one of utf-8, latin-1, windows-1252, utf-16", name)
}

// textCopy copies text and checks that it is UTF-8.
type textCopy struct {
	ctx     context.Context
	file    string
	packed  string
	shape   *csvShape // of CSV
	scan    *jsonScan // of JSON lines
	decoded string    // the encoding that it was in, unless that is UTF-8
	lines   int       // line ends before the current block
	offset  int64     // bytes before the current block
}

func (c *textCopy) run(r io.Reader, w io.Writer) error {
	buf := make([]byte, 1<<18)
	kept := 0 // bytes of a character that the last read cut in two
	for {
		n, err := r.Read(buf[kept:])
		block := buf[:kept+n]
		end := err == io.EOF
		if err != nil && !end {
			if errors.Is(err, io.ErrUnexpectedEOF) {
				return fmt.Errorf("%s:%d: the file is truncated: the %s data ends early", c.file, c.lines+1+bytes.Count(block, []byte("\n")), c.packed)
			}
			if errors.Is(err, errBehindGzip) {
				return fmt.Errorf("%s: %w", c.file, err)
			}
			return fmt.Errorf("%s:%d: read: %w", c.file, c.lines+1, err)
		}
		whole := len(block)
		if !end {
			whole -= partial(block)
		}
		if !utf8.Valid(block[:whole]) {
			return c.invalid(block[:whole])
		}
		if at := bytes.Index(block[:whole], []byte("\ufffd")); at >= 0 && c.decoded != "" { // what decoders write for it
			return c.fault(block[:at], "a character is not %s; the file may be damaged, or in another encoding", c.decoded)
		}
		if at := bytes.IndexByte(block[:whole], 0); at >= 0 {
			return c.fault(block[:at], "byte %d is NUL, which no text has; the file may be damaged, or in another encoding, such as encoding: \"utf-16\"", c.offset+int64(at)+1)
		}
		if c.shape != nil {
			text := block[:whole]
			if c.offset == 0 {
				text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
			}
			c.shape.read(text)
		} else if err := c.scan.read(block[:whole], end); err != nil {
			return err
		}
		if _, err := w.Write(block[:whole]); err != nil {
			return fmt.Errorf("unpack %s: %w", c.file, err)
		}
		if end {
			if c.shape != nil {
				c.shape.finish()
			}
			return nil
		}
		if err := c.ctx.Err(); err != nil {
			return err
		}
		c.lines += bytes.Count(block[:whole], []byte("\n"))
		c.offset += int64(whole)
		kept = copy(buf, block[whole:])
	}
}

// partial returns how many bytes at the end of b begin a character that is not
// complete.
func partial(b []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(b); n++ {
		if c := b[len(b)-n]; utf8.RuneStart(c) {
			if !utf8.FullRune(b[len(b)-n:]) {
				return n
			}
			return 0
		}
	}
	return 0
}

func (c *textCopy) invalid(b []byte) error {
	at := 0
	for at < len(b) {
		r, n := utf8.DecodeRune(b[at:])
		if r == utf8.RuneError && n <= 1 {
			break
		}
		at += n
	}
	hint := `encoding: "latin-1"`
	if offset := c.offset + int64(at); offset == 0 && (b[0] == 0xff || b[0] == 0xfe) {
		hint = `encoding: "utf-16"`
	}
	return c.fault(b[:at], "byte %d (0x%02x) is not UTF-8; if the file has another encoding, declare it, for example %s", c.offset+int64(at)+1, b[at], hint)
}

// fault is a fault behind the beginning of the current block.
func (c *textCopy) fault(before []byte, format string, args ...any) error {
	return &duck.FileError{
		File: c.file, Line: c.lines + 1 + bytes.Count(before, []byte("\n")), Option: "encoding",
		Text: fmt.Sprintf(format, args...),
	}
}
