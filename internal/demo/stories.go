package demo

// Where requests come from: the cluster, the data centre's IPv6, the build machines, partners, one person's desk.
var (
	cluster  = []string{"203.0.113.10", "203.0.113.11", "203.0.113.12", "203.0.113.14"}
	dualIPv6 = []string{"2001:db8:40::a1", "2001:db8:40::a2"}
	builders = []string{"198.51.100.130", "198.51.100.131", "198.51.100.132"}
	partner  = []string{"198.51.100.200"}
	desk     = []string{"198.51.100.61", "2001:db8:7::24"}
)

// What calls.
const (
	goClient = "Go-http-client/2.0"
	python   = "python-requests/2.32.5"
	httpx    = "python-httpx/0.28.1"
	curl     = "curl/8.14.1"
	node     = "node"
	java     = "Apache-HttpClient/5.5 (Java/21.0.8)"
	okhttp   = "okhttp/5.1.0"
	probe    = "kube-probe/1.33"
	actions  = "fernhill-ci/4.2"
)

// stories are the keys: each line one, what became of it beneath.
var stories = []story{
	{name: "Platform automation", owner: "maya", scopes: []string{"*"}, issued: days(200), life: "365d", allow: []string{"203.0.113.16/28"},
		traffic: traffic{busy: 40, shape: office, agent: goClient, from: []string{"203.0.113.17", "203.0.113.18"}, stray: true}},
	{name: "Break-glass, sealed envelope", owner: "maya", scopes: []string{"*"}, issued: days(331), life: "365d"},
	{name: "Terraform", owner: "maya", scopes: []string{"read:config", "write:config", "write:webhooks"}, issued: days(300), life: "90d",
		then:    []turn{{days(215), "maya", rotate(days(7))}, {days(130), "maya", rotate(days(7))}, {days(45), "maya", rotate(days(1))}},
		traffic: traffic{busy: 14, shape: office, agent: "Terraform/1.13", from: builders, goesOn: days(2)}},
	{name: "Board report", owner: "maya", scopes: []string{"read:billing", "read:audit"}, workspace: "Analytics", issued: days(98), life: "180d",
		traffic: traffic{busy: 9, shape: weekly, agent: python, from: dualIPv6}},

	{name: "Checkout service", owner: "jonas", scopes: []string{"read:personas", "read:marketplace", "write:chat"}, process: "Checkout", profile: "Balanced",
		issued: days(85), life: "90d", allow: []string{"203.0.113.0/24"},
		traffic: traffic{busy: 2600, shape: always, agent: goClient, from: cluster, stray: true}},
	{name: "Checkout service (staging)", owner: "jonas", test: true, scopes: []string{"read:personas", "read:marketplace", "write:chat"}, process: "Checkout",
		issued: days(63), life: "90d",
		traffic: traffic{busy: 90, shape: office, agent: goClient, from: builders}},
	{name: "Product search", owner: "jonas", scopes: []string{"read:marketplace", "read:personas"}, process: "Product search", issued: days(120), life: "180d",
		then:    []turn{{hours(20), "jonas", rotate(days(1))}},
		traffic: traffic{busy: 1800, shape: always, agent: java, from: cluster}},
	{name: "Mobile app backend", owner: "jonas", scopes: []string{"read:personas", "write:personas", "read:chat", "write:chat"}, workspace: "Storefront", profile: "Balanced",
		issued: days(70), life: "90d",
		traffic: traffic{busy: 1500, shape: always, agent: okhttp, from: cluster}},
	{name: "Partner feed: Meridian Books", owner: "jonas", scopes: []string{"read:marketplace"}, issued: days(118), life: "90d", allow: []string{"198.51.100.200"},
		traffic: traffic{busy: 130, shape: steady, agent: java, from: partner, goesOn: days(9)}},
	{name: "Load test", owner: "jonas", test: true, scopes: []string{"read:chat", "write:chat"}, issued: days(50), life: "30d",
		traffic: traffic{busy: 5200, shape: weekly, agent: "k6/1.2.3 (https://k6.io/)", from: builders}},
	{name: "Payment webhooks", owner: "jonas", scopes: []string{"read:webhooks", "write:webhooks", "read:orders"}, workspace: "Storefront", issued: days(150), life: "365d",
		then:    []turn{{days(3), "jonas", rotate(days(7))}},
		traffic: traffic{busy: 210, shape: always, agent: node, from: cluster}},
	{name: "Old storefront", owner: "jonas", scopes: []string{"read:marketplace", "write:marketplace"}, workspace: "Storefront", issued: days(280), life: "365d",
		then:    []turn{{days(40), "jonas", disable}},
		traffic: traffic{busy: 320, shape: always, agent: "PHP/8.1", from: []string{"203.0.113.80"}, goesOn: days(4)}},
	{name: "Price sync", owner: "jonas", scopes: []string{"write:marketplace"}, workspace: "Storefront", issued: days(45), life: "60d",
		traffic: traffic{busy: 1900, shape: nightly, agent: python, from: cluster}},
	{name: "Status page", owner: "jonas", scopes: []string{"read:config"}, issued: days(300), life: "365d",
		traffic: traffic{busy: 12, shape: steady, agent: curl, from: []string{"198.51.100.77"}}},
	{name: "Email campaigns", owner: "jonas", scopes: []string{"read:personas"}, workspace: "Customer care", issued: days(14), life: "90d",
		traffic: traffic{busy: 2400, shape: weekly, agent: node, from: partner}},
	{name: "Search index rebuild", owner: "jonas", scopes: []string{"read:marketplace"}, process: "Product search", issued: days(150), life: "180d",
		then:    []turn{{days(65), "jonas", rotate(0)}},
		traffic: traffic{busy: 3100, shape: nightly, agent: java, from: cluster, goesOn: days(3)}},
	{name: "Kiosk fleet", owner: "jonas", scopes: []string{"read:marketplace", "read:chat"}, workspace: "Storefront", issued: days(96), life: "180d",
		then:    []turn{{days(34), "jonas", disable}, {days(32), "jonas", enable}, {days(6), "maya", disable}},
		traffic: traffic{busy: 75, shape: always, agent: okhttp, from: []string{"198.51.100.90", "198.51.100.91"}, goesOn: days(8)}},

	{name: "CI pipeline", owner: "priya", test: true, scopes: []string{"read:personas", "write:personas", "read:api-keys"}, issued: days(62), life: "90d",
		traffic: traffic{busy: 120, shape: office, agent: actions, from: builders}},
	{name: "Data warehouse export", owner: "priya", scopes: []string{"read:billing", "read:personas", "read:chat"}, process: "Nightly export",
		issued: days(160), life: "365d", allow: []string{"2001:db8:40::/48", "198.51.100.20"},
		traffic: traffic{busy: 4000, shape: nightly, agent: httpx, from: dualIPv6, stray: true}},
	{name: "Recommendation training", owner: "priya", scopes: []string{"read:personas", "read:marketplace", "read:recommendations"}, process: "Recommendation training", profile: "Research, flags only",
		issued: days(95), life: "180d",
		traffic: traffic{busy: 8800, shape: nightly, agent: httpx, from: dualIPv6}},
	{name: "Grafana dashboards", owner: "priya", scopes: []string{"read:audit", "read:billing"}, workspace: "Analytics", issued: days(230), life: "365d",
		traffic: traffic{busy: 60, shape: steady, agent: "Grafana/12.1.1", from: []string{"203.0.113.60"}}},
	{name: "Chat assistant", owner: "priya", scopes: []string{"read:chat", "write:chat", "read:personas"}, process: "Chat assistant", profile: "Care conversations",
		issued: days(88), life: "90d",
		traffic: traffic{busy: 3200, shape: always, agent: node, from: cluster}},
	{name: "Chat assistant (evaluation)", owner: "priya", test: true, scopes: []string{"read:chat", "write:chat"}, process: "Chat assistant", profile: "Hiring, strict",
		issued: days(26), life: "90d",
		traffic: traffic{busy: 0.9, shape: office, agent: httpx, from: desk}},
	{name: "Notebook: spring report", owner: "priya", scopes: []string{"read:billing"}, workspace: "Analytics", issued: days(205), life: "365d",
		traffic: traffic{busy: 3, shape: office, agent: python, from: desk, ended: days(121)}},
	{name: "Persona importer", owner: "priya", scopes: []string{"write:personas"}, issued: days(33), life: "30d",
		traffic: traffic{busy: 260, shape: office, agent: python, from: cluster, goesOn: days(10)}},
	{name: "Documentation examples", owner: "priya", test: true, scopes: []string{"read:personas", "read:chat"}, issued: days(75), life: "180d",
		then:    []turn{{days(12), "priya", revoke}}, // it was in a public repository
		traffic: traffic{busy: 22, shape: steady, agent: curl, from: []string{"198.51.100.201", "203.0.113.222", "2001:db8:bad::1"}, goesOn: days(13)}},
	{name: "Marketplace scraper", owner: "priya", scopes: []string{"read:marketplace"}, issued: days(140), life: "365d",
		then:    []turn{{days(60), "maya", revoke}},
		traffic: traffic{busy: 900, shape: steady, agent: "Scrapy/2.13", from: partner, goesOn: days(5)}},
	{name: "東京ショールーム", owner: "priya", scopes: []string{"read:marketplace", "read:chat", "write:chat"}, workspace: "Storefront", profile: "Balanced",
		issued: days(52), life: "180d",
		traffic: traffic{busy: 85, shape: always, agent: okhttp, from: []string{"198.51.100.150"}}},
	{name: "Invoice reconciliation", owner: "priya", scopes: []string{"read:billing"}, issued: days(27), life: "30d",
		traffic: traffic{busy: 350, shape: nightly, agent: java, from: dualIPv6}},
	{name: "Hackathon", owner: "priya", test: true, scopes: []string{"read:personas", "write:personas", "read:chat", "write:chat"}, issued: days(180), life: "30d",
		then: []turn{{days(160), "priya", disable}}},
	{name: "Support macros", owner: "priya", scopes: []string{"read:chat"}, workspace: "Customer care", issued: days(9), life: "90d",
		traffic: traffic{busy: 45, shape: office, agent: chrome, from: []string{"203.0.113.31"}}},
	{name: "Android app", owner: "priya", scopes: []string{"read:personas", "read:chat", "write:chat"}, workspace: "Storefront", profile: "Balanced",
		issued: days(240), life: "365d",
		then:    []turn{{days(20), "priya", rotate(days(30))}, {days(11), "priya", stopOld}},
		traffic: traffic{busy: 740, shape: always, agent: okhttp, from: cluster, goesOn: days(7)}},
	{name: "Load balancer probe", owner: "priya", scopes: []string{"verify:api-keys"}, issued: hours(15), life: "30d",
		traffic: traffic{busy: 360, shape: steady, agent: probe, from: cluster}},

	{name: "Legacy ETL", owner: "victor", scopes: []string{"read:billing", "read:audit"}, workspace: "Analytics", issued: days(190), life: "365d",
		traffic: traffic{busy: 200, shape: steady, agent: "Apache-HttpClient/4.5.14 (Java/11.0.28)", from: []string{"203.0.113.90"}}},
	{name: "Fraud scoring", owner: "victor", scopes: []string{"read:billing", "read:personas"}, workspace: "Storefront", issued: days(110), life: "180d",
		traffic: traffic{busy: 500, shape: always, agent: goClient, from: cluster}},
	{name: "Victor's sandbox", owner: "victor", test: true, scopes: []string{"read:personas", "write:personas"}, issued: days(100), life: "180d",
		then:    []turn{{days(24), "maya", disable}},
		traffic: traffic{busy: 2, shape: office, agent: curl, from: desk, ended: days(25)}},
	{name: "Translation service", owner: "victor", scopes: []string{"read:chat"}, workspace: "Customer care", issued: days(130), life: "365d",
		then:    []turn{{days(24), "maya", transferTo("priya")}},
		traffic: traffic{busy: 170, shape: always, agent: node, from: dualIPv6}},
}
