// Command plugin is an NRI plugin around the library that plugins are made with, for the tests: what it does depends on its mode.
//
// It prints what it is told as one JSON object on each line.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/stub"
)

var (
	socket = flag.String("socket", "", "the runtime's socket; when empty, what the environment says")
	name   = flag.String("name", "", "the plugin's name; when empty, what the environment says")
	index  = flag.String("index", "", "its index")
	mode   = flag.String("mode", "log", "log, inject, limit, hang-synchronize, hang-create, die-create, refuse-create or judge")
	out    = flag.String("out", "", "the file to print to, instead of standard output")
)

type event struct {
	Event     string   `json:"event"`
	Pod       string   `json:"pod,omitempty"`
	Container string   `json:"container,omitempty"`
	Config    string   `json:"config,omitempty"`
	Names     []string `json:"names,omitempty"`
	Env       []string `json:"env,omitempty"`
	Limit     int64    `json:"limit,omitempty"`
}

type plugin struct {
	stub  stub.Stub
	lines *json.Encoder
	lock  sync.Mutex
}

func (p *plugin) say(e event) {
	p.lock.Lock()
	defer p.lock.Unlock()
	if err := p.lines.Encode(e); err != nil {
		os.Exit(1)
	}
}

func (p *plugin) about(what string, pod *api.PodSandbox, container *api.Container) {
	p.say(event{
		Event: what, Pod: pod.GetName(), Container: container.GetName(), Env: container.GetEnv(),
		Limit: container.GetLinux().GetResources().GetMemory().GetLimit().GetValue(),
	})
}

func (p *plugin) Configure(_ context.Context, config, runtime, version string) (stub.EventMask, error) {
	p.say(event{Event: "Configure", Config: config, Names: []string{runtime, version}})
	return 0, nil
}

func (p *plugin) Synchronize(_ context.Context, _ []*api.PodSandbox, all []*api.Container) ([]*api.ContainerUpdate, error) {
	names := []string{}
	for _, c := range all {
		names = append(names, c.GetName())
	}
	p.say(event{Event: "Synchronize", Names: names})
	if *mode == "hang-synchronize" {
		select {}
	}
	return nil, nil
}

func (p *plugin) RunPodSandbox(_ context.Context, pod *api.PodSandbox) error {
	p.about("RunPodSandbox", pod, nil)
	return nil
}

func (p *plugin) StopPodSandbox(_ context.Context, pod *api.PodSandbox) error {
	p.about("StopPodSandbox", pod, nil)
	return nil
}

func (p *plugin) RemovePodSandbox(_ context.Context, pod *api.PodSandbox) error {
	p.about("RemovePodSandbox", pod, nil)
	return nil
}

func (p *plugin) CreateContainer(_ context.Context, pod *api.PodSandbox, c *api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
	p.about("CreateContainer", pod, c)
	adjust := &api.ContainerAdjustment{}
	switch *mode {
	case "inject":
		adjust.AddEnv("INJECTED", *index+"-"+*name)
		adjust.AddDevice(&api.LinuxDevice{
			Path: "/dev/injected", Type: "c", Major: 1, Minor: 5, FileMode: api.FileMode(os.FileMode(0o666)),
		})
		adjust.AddMount(&api.Mount{
			Source: "/proc/version", Destination: "/injected", Type: "bind", Options: []string{"bind", "ro"},
		})
	case "limit":
		adjust.AddRlimit("RLIMIT_NOFILE", 321, 123)
		adjust.SetLinuxMemoryLimit(64 << 20)
	case "shape":
		adjust.SetLinuxScheduler(&api.LinuxScheduler{Policy: api.LinuxSchedulerPolicy_SCHED_BATCH, Nice: 6})
		adjust.SetLinuxIOPriority(&api.LinuxIOPriority{Class: api.IOPrioClass_IOPRIO_CLASS_BE, Priority: 5})
		adjust.SetLinuxSeccompPolicy(&api.LinuxSeccomp{
			DefaultAction: "SCMP_ACT_ALLOW",
			Syscalls: []*api.LinuxSyscall{{
				Names: []string{"mkdir", "mkdirat"}, Action: "SCMP_ACT_ERRNO", ErrnoRet: api.UInt32(uint32(28)),
			}},
		})
		if _, err := os.Stat("/proc/self/numa_maps"); err == nil {
			adjust.SetLinuxMemoryPolicy(api.MpolMode_MPOL_BIND, "0")
		}
	case "hang-create":
		select {}
	case "die-create":
		os.Exit(3)
	case "refuse-create":
		return nil, nil, fmt.Errorf("%s is not wanted", c.GetName())
	}
	return adjust, nil, nil
}

func (p *plugin) PostCreateContainer(_ context.Context, pod *api.PodSandbox, c *api.Container) error {
	p.about("PostCreateContainer", pod, c)
	return nil
}

func (p *plugin) StartContainer(_ context.Context, pod *api.PodSandbox, c *api.Container) error {
	p.about("StartContainer", pod, c)
	return nil
}

func (p *plugin) PostStartContainer(_ context.Context, pod *api.PodSandbox, c *api.Container) error {
	p.about("PostStartContainer", pod, c)
	if *mode == "limit" {
		update := &api.ContainerUpdate{}
		update.SetContainerId(c.GetId())
		update.SetLinuxMemoryLimit(96 << 20)
		// In its own time, as the runtime waits for this call.
		go func() {
			failed, err := p.stub.UpdateContainers([]*api.ContainerUpdate{update})
			p.say(event{Event: "Updated", Container: c.GetName(), Names: []string{fmt.Sprint(len(failed), err)}})
		}()
	}
	return nil
}

func (p *plugin) UpdateContainer(_ context.Context, pod *api.PodSandbox, c *api.Container, _ *api.LinuxResources) ([]*api.ContainerUpdate, error) {
	p.about("UpdateContainer", pod, c)
	return nil, nil
}

func (p *plugin) PostUpdateContainer(_ context.Context, pod *api.PodSandbox, c *api.Container) error {
	p.about("PostUpdateContainer", pod, c)
	return nil
}

func (p *plugin) StopContainer(_ context.Context, pod *api.PodSandbox, c *api.Container) ([]*api.ContainerUpdate, error) {
	p.about("StopContainer", pod, c)
	return nil, nil
}

func (p *plugin) RemoveContainer(_ context.Context, pod *api.PodSandbox, c *api.Container) error {
	p.about("RemoveContainer", pod, c)
	return nil
}

func (p *plugin) ValidateContainerAdjustment(_ context.Context, r *api.ValidateContainerAdjustmentRequest) error {
	if *mode != "judge" {
		return nil
	}
	owner := ""
	if of, ok := r.GetOwners().GetOwners()[r.GetContainer().GetId()]; ok {
		owner = of.GetCompound()[int32(api.Field_Env)].GetOwners()["INJECTED"]
	}
	p.say(event{Event: "Validate", Container: r.GetContainer().GetName(), Names: []string{owner}})
	if strings.HasPrefix(r.GetContainer().GetName(), "forbidden") {
		return fmt.Errorf("nothing may be injected by %s", owner)
	}
	return nil
}

func main() {
	flag.Parse()
	// Started by the runtime it has no arguments: its name says what it is.
	if value := os.Getenv(api.PluginNameEnvVar); value != "" {
		*mode = strings.SplitN(value, ".", 2)[0]
		*out = os.Args[0] + ".out"
	}
	p := &plugin{lines: json.NewEncoder(os.Stdout)}
	if *out != "" {
		file, err := os.Create(*out)
		if err != nil {
			os.Exit(2)
		}
		p.lines = json.NewEncoder(file)
	}
	options := []stub.Option{}
	if *name != "" {
		options = append(options, stub.WithPluginName(*name), stub.WithPluginIdx(*index))
	}
	if *socket != "" {
		options = append(options, stub.WithSocketPath(*socket))
	}
	options = append(options, stub.WithOnClose(func() {
		p.say(event{Event: "End"})
		os.Exit(0)
	}))
	made, err := stub.New(p, options...)
	if err == nil {
		p.stub = made
		err = made.Run(context.Background())
	}
	p.say(event{Event: "End", Names: []string{fmt.Sprint(err)}})
}
