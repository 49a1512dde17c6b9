// Dash writes this line into its page; a strict content security policy wants it in a file.
var renderer = new DashRenderer();
