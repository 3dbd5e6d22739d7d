// Command client is Kubernetes' own client of the streaming server, for the tests: exec, attach and port forwarding by URL.
//
// It asks a CRI socket for URLs and prints what happened as one JSON object on each line.
package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/client-go/util/exec"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

var (
	socket    = flag.String("socket", "", "the CRI's socket")
	transport = flag.String("transport", "spdy", "spdy or websocket")
	versions  = flag.String("versions", "", "protocols of WebSocket to offer, with commas; v5 when empty")
	container = flag.String("container", "", "for exec and attach")
	sandbox   = flag.String("sandbox", "", "for forward")
	tty       = flag.Bool("tty", false, "a terminal")
	stdin     = flag.String("stdin", "", "text to send, or zeros:BYTES, or open to send nothing and not to end")
	noOutput  = flag.Bool("no-output", false, "only input is wanted")
	sizes     = flag.String("sizes", "", "sizes of the terminal, COLUMNSxROWS with commas")
	repeat    = flag.Int("repeat", 1, "how often")
	parallel  = flag.Int("parallel", 1, "how many at once")
	count     = flag.Bool("count", false, "only count the output, without its sum")
	echo      = flag.Bool("echo", false, "give the output as text and not its sum")
	limit     = flag.Duration("limit", 2*time.Minute, "how long all may take")
	leave     = flag.Duration("leave", 0, "go away after that time, in the middle")
	slow      = flag.Bool("slow", false, "read nothing until standard input ends")
)

// Outcome is what happened to one exec or attach.
type Outcome struct {
	Code   int    `json:"code"`
	Error  string `json:"error,omitempty"`
	Stdout string `json:"stdout"`
	Stderr string `json:"stderr"`
	Bytes  int64  `json:"bytes"`
	Micros int64  `json:"micros"`
	// Ended is when it ended, in microseconds since the first of all began.
	Ended int64 `json:"ended"`
}

func main() {
	flag.Parse()
	if err := run(flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), *limit)
	defer cancel()
	connection, err := grpc.NewClient("unix://"+*socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	cri := runtimeapi.NewRuntimeServiceClient(connection)
	switch args[0] {
	case "exec":
		return many(func() (*Outcome, error) { return command(ctx, cri, args[1:]) })
	case "attach":
		return many(func() (*Outcome, error) { return command(ctx, cri, nil) })
	case "forward":
		return forward(ctx, cri, args[1])
	}
	return fmt.Errorf("unknown command %q", args[0])
}

// many does the work as often as was asked for, and prints the outcomes.
func many(work func() (*Outcome, error)) error {
	turns := make(chan struct{}, *parallel)
	var group sync.WaitGroup
	var lock sync.Mutex
	var failed error
	out := json.NewEncoder(os.Stdout)
	began := time.Now()
	for range *repeat {
		turns <- struct{}{}
		group.Add(1)
		go func() {
			defer group.Done()
			defer func() { <-turns }()
			outcome, err := work()
			lock.Lock()
			defer lock.Unlock()
			if err != nil {
				failed = err
				return
			}
			outcome.Ended = time.Since(began).Microseconds()
			_ = out.Encode(outcome)
		}()
	}
	group.Wait()
	return failed
}

// config is for a client that takes any certificate.
func config() *rest.Config {
	return &rest.Config{TLSClientConfig: rest.TLSClientConfig{Insecure: true}}
}

func executor(address string) (remotecommand.Executor, error) {
	if *transport == "websocket" {
		if *versions == "" {
			return remotecommand.NewWebSocketExecutor(config(), "GET", address)
		}
		return remotecommand.NewWebSocketExecutorForProtocols(config(), "GET", address, strings.Split(*versions, ",")...)
	}
	parsed, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	if *versions == "" {
		return remotecommand.NewSPDYExecutor(config(), "POST", parsed)
	}
	wrapper, upgrader, err := spdy.RoundTripperFor(config())
	if err != nil {
		return nil, err
	}
	return remotecommand.NewSPDYExecutorForProtocols(wrapper, upgrader, "POST", parsed, strings.Split(*versions, ",")...)
}

// sink counts output, and keeps its sum or its text.
type sink struct {
	lock  sync.Mutex
	count int64
	text  strings.Builder
	sum   interface {
		io.Writer
		Sum([]byte) []byte
	}
	gate <-chan struct{}
}

func newSink(gate <-chan struct{}) *sink { return &sink{sum: sha256.New(), gate: gate} }

func (s *sink) Write(bytes []byte) (int, error) {
	select {
	case <-s.gate:
	default:
		fmt.Fprintln(os.Stderr, "not reading")
		<-s.gate
	}
	s.lock.Lock()
	defer s.lock.Unlock()
	s.count += int64(len(bytes))
	switch {
	case *echo:
		s.text.Write(bytes)
	case !*count:
		_, _ = s.sum.Write(bytes)
	}
	return len(bytes), nil
}

func (s *sink) String() string {
	s.lock.Lock()
	defer s.lock.Unlock()
	if *echo {
		return s.text.String()
	}
	return hex.EncodeToString(s.sum.Sum(nil))
}

// queue gives the terminal's sizes, each half a second after the one before.
type queue struct {
	sizes []remotecommand.TerminalSize
	given int
	end   <-chan struct{}
}

func (q *queue) Next() *remotecommand.TerminalSize {
	if q.given == len(q.sizes) {
		<-q.end
		return nil
	}
	if q.given > 0 {
		select {
		case <-time.After(500 * time.Millisecond):
		case <-q.end:
			return nil
		}
	}
	q.given++
	return &q.sizes[q.given-1]
}

func parseSizes() ([]remotecommand.TerminalSize, error) {
	var parsed []remotecommand.TerminalSize
	for _, text := range strings.Split(*sizes, ",") {
		var size remotecommand.TerminalSize
		if _, err := fmt.Sscanf(text, "%dx%d", &size.Width, &size.Height); err != nil {
			return nil, err
		}
		parsed = append(parsed, size)
	}
	return parsed, nil
}

func input(end <-chan struct{}) (io.Reader, error) {
	if count, ok := strings.CutPrefix(*stdin, "zeros:"); ok {
		bytes, err := strconv.ParseInt(count, 10, 64)
		return io.LimitReader(zeros{}, bytes), err
	}
	if *stdin == "open" {
		read, write := io.Pipe()
		go func() {
			<-end
			write.Close()
		}()
		return read, nil
	}
	return strings.NewReader(*stdin), nil
}

type zeros struct{}

func (zeros) Read(bytes []byte) (int, error) {
	clear(bytes)
	return len(bytes), nil
}

// command runs one exec, or an attach when there are no words.
func command(ctx context.Context, cri runtimeapi.RuntimeServiceClient, words []string) (*Outcome, error) {
	began := time.Now()
	wantsIn, wantsErr := *stdin != "", !*tty && !*noOutput
	var address string
	if words == nil {
		response, err := cri.Attach(ctx, &runtimeapi.AttachRequest{
			ContainerId: *container, Tty: *tty, Stdin: wantsIn, Stdout: !*noOutput, Stderr: wantsErr})
		if err != nil {
			return nil, err
		}
		address = response.Url
	} else {
		response, err := cri.Exec(ctx, &runtimeapi.ExecRequest{
			ContainerId: *container, Cmd: words, Tty: *tty, Stdin: wantsIn, Stdout: !*noOutput, Stderr: wantsErr})
		if err != nil {
			return nil, err
		}
		address = response.Url
	}
	executor, err := executor(address)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	gate := make(chan struct{})
	if *slow {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			close(gate)
		}()
	} else {
		close(gate)
	}
	stdout, stderr := newSink(gate), newSink(gate)
	options := remotecommand.StreamOptions{Tty: *tty}
	if !*noOutput {
		options.Stdout = stdout
	}
	if wantsErr {
		options.Stderr = stderr
	}
	if wantsIn {
		if options.Stdin, err = input(ctx.Done()); err != nil {
			return nil, err
		}
	}
	if *sizes != "" {
		parsed, err := parseSizes()
		if err != nil {
			return nil, err
		}
		options.TerminalSizeQueue = &queue{sizes: parsed, end: ctx.Done()}
	}
	if *leave > 0 {
		time.AfterFunc(*leave, cancel)
	}
	err = executor.StreamWithContext(ctx, options)
	outcome := &Outcome{Stdout: stdout.String(), Stderr: stderr.String(), Bytes: stdout.count, Micros: time.Since(began).Microseconds()}
	var exit exec.CodeExitError
	if errors.As(err, &exit) {
		outcome.Code = exit.Code
	} else if err != nil {
		outcome.Code = -1
		outcome.Error = err.Error()
	}
	return outcome, nil
}

// forward forwards ports until standard input ends, and prints each local port when it is there.
func forward(ctx context.Context, cri runtimeapi.RuntimeServiceClient, ports string) error {
	response, err := cri.PortForward(ctx, &runtimeapi.PortForwardRequest{PodSandboxId: *sandbox})
	if err != nil {
		return err
	}
	parsed, err := url.Parse(response.Url)
	if err != nil {
		return err
	}
	stop, ready := make(chan struct{}), make(chan struct{})
	go func() {
		_, _ = bufio.NewReader(os.Stdin).ReadString(0)
		close(stop)
	}()
	list := strings.Split(ports, ",")
	for i, port := range list {
		list[i] = "0:" + port
	}
	var forwarder *portforward.PortForwarder
	if *transport == "websocket" {
		dialer, err := portforward.NewSPDYOverWebsocketDialer(parsed, config())
		if err != nil {
			return err
		}
		forwarder, err = portforward.NewOnAddresses(dialer, []string{"127.0.0.1"}, list, stop, ready, io.Discard, os.Stderr)
		if err != nil {
			return err
		}
	} else {
		wrapper, upgrader, err := spdy.RoundTripperFor(config())
		if err != nil {
			return err
		}
		dialer := spdy.NewDialer(upgrader, newClient(wrapper), "POST", parsed)
		forwarder, err = portforward.NewOnAddresses(dialer, []string{"127.0.0.1"}, list, stop, ready, io.Discard, os.Stderr)
		if err != nil {
			return err
		}
	}
	go func() {
		<-ready
		ports, err := forwarder.GetPorts()
		if err != nil {
			return
		}
		locals := make([]uint16, len(ports))
		for i, port := range ports {
			locals[i] = port.Local
		}
		_ = json.NewEncoder(os.Stdout).Encode(locals)
	}()
	return forwarder.ForwardPorts()
}

func newClient(transport http.RoundTripper) *http.Client { return &http.Client{Transport: transport} }
