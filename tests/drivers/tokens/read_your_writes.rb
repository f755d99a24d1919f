# For Rack and Rails: lets a request see what the same person's last one has written, in whatever
# region. The verifier is an ActiveSupport::MessageVerifier.
class ReadYourWrites
  COOKIE = 'isthmus_after'.freeze

  def initialize(app, verifier)
    @app = app
    @verifier = verifier
  end

  def call(env)
    database = ActiveRecord::Base.connection
    cookie = env['HTTP_COOKIE'].to_s[/#{COOKIE}=([^;]+)/, 1]
    token = cookie && @verifier.verified(CGI.unescape(cookie))
    database.execute("SET @isthmus_after = #{database.quote(token)}") if token
    status, headers, body = @app.call(env)
    unless %w[GET HEAD OPTIONS].include?(env['REQUEST_METHOD'])
      signed = @verifier.generate(database.select_value('SELECT @isthmus_token'))
      headers['Set-Cookie'] = "#{COOKIE}=#{CGI.escape(signed)}; Path=/; HttpOnly; Max-Age=60"
    end
    [status, headers, body]
  end
end
